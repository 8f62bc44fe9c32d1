/** What lies in the pools, read past nodes and links: names, ledgers, and every block to its last byte. */
import { readFileSync } from 'node:fs';
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import type { ChunkWorkers } from '@openservice/codec';
import type { PoolSpec, S3PoolSpec } from '@openservice/domain';
import {
  type Backend,
  createFsBackend,
  createS3Backend,
  Ledger,
  type LedgerEntry,
  openPool,
  type Pool,
} from '@openservice/pools';
import type { S3Access } from '@openservice/servers';
import type { PoolPlace } from '../actions/action.ts';
import { filesBelow } from './files.ts';

export interface StoredBlock {
  id: string;
  trashed: boolean;
  size: number;
  /** Hex. */
  rootDigest: string;
}

export interface PoolEvidence {
  pool: PoolPlace;
  layout: 'raw' | 'packs';
  /** Keys or files, all of them. */
  names: string[];
  ledgers: Map<string, LedgerEntry>;
  blocks: Map<string, StoredBlock>;
  /** What could not be listed, in the pool's words. */
  damaged: { block: string; why: string }[];
}

export interface OpenedPool {
  evidence: PoolEvidence;
  pool: Pool;
  close(): Promise<void>;
}

const never = new AbortController().signal;

/** `place`'s bytes, not through the node that has them. A remote pool is opened where it lies. */
export async function openPlace(place: PoolPlace, s3: S3Access, workers: ChunkWorkers): Promise<OpenedPool> {
  const spec = specOf(place, s3);
  const pool = openPool(spec, { workers });
  const backend: Backend = spec.type === 's3' ? createS3Backend(spec) : createFsBackend((spec as { path: string }).path);
  const names: string[] = [];
  if (spec.type === 's3') for await (const { key } of backend.list('', never)) names.push(key);
  else names.push(...filesBelow((spec as { path: string }).path));
  const ids = new Set(names.map((name) => /^blocks\/([^/]+)\/ledger\//.exec(name)?.[1]).filter((id) => id !== undefined));
  const ledgers = new Map<string, LedgerEntry>();
  for (const id of ids) {
    const { entry } = await new Ledger(backend, `blocks/${id}/ledger`).head(never);
    if (entry !== null) ledgers.set(id, entry);
  }
  const damaged: PoolEvidence['damaged'] = [];
  const blocks = new Map<string, StoredBlock>();
  const onDamaged = (block: string, error: Error) => void damaged.push({ block, why: error.message });
  for await (const stat of pool.list(never, { trashed: true, onDamaged })) {
    const { blockId: id, size, rootDigest, trashed = false } = stat;
    blocks.set(id, { id, size, trashed, rootDigest: rootDigest.toString('hex') });
  }
  return {
    evidence: { pool: place, layout: spec.type === 'local' ? 'raw' : 'packs', names, ledgers, blocks, damaged },
    pool,
    async close() {
      await pool.close();
      await backend.close();
    },
  };
}

/** All bytes, each chunk checked against the pool's own digests on the way. */
export async function readBlock(pool: Pool, block: string): Promise<Buffer> {
  const reader = await pool.openReader(block, never);
  try {
    return reader.size === 0 ? Buffer.alloc(0) : await reader.read(0, reader.size, never);
  } finally {
    await reader.close();
  }
}

function specOf(place: PoolPlace, s3: S3Access): PoolSpec {
  const { id, type } = place;
  if (type === 'local') return { id, type, node_id: place.node ?? '', path: place.path ?? '' };
  if (type === 's3') {
    const spec: S3PoolSpec = {
      ...s3,
      id,
      type,
      s3_scheme: 'other',
      prefix: place.prefix ?? '',
      https: false,
      encryption_key: null,
    };
    return spec;
  }
  // The pool that a node exports has an id of its own.
  const own = type === 'remote' ? (JSON.parse(readFileSync(`${place.path}.json`, 'utf8')) as { pool_id: string }).pool_id : id;
  return { id: own, type: 'dedup', node_id: place.node ?? '', path: place.path ?? '', encryption_key: null };
}

/** Keys of uploads in parts that were begun and never ended. */
export async function openUploads(s3: S3Access): Promise<string[]> {
  const credentials = { accessKeyId: s3.access_key, secretAccessKey: s3.secret_key };
  const client = new S3Client({ endpoint: s3.endpoint, region: s3.region, credentials, forcePathStyle: true });
  try {
    const told = await client.send(new ListMultipartUploadsCommand({ Bucket: s3.bucket }));
    return (told.Uploads ?? []).map(({ Key }) => Key ?? '');
  } finally {
    client.destroy();
  }
}
