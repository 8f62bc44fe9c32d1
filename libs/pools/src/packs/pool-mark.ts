/** `pool.json`: whose this place is, and the key that chunk ids are made with. */
import { randomBytes } from 'node:crypto';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { PermanentError } from '@openservice/domain';

const FORMAT = 'openservice-packs';
const VERSION = 1;

export interface PoolMark {
  poolId: string;
  digestKey: Buffer;
}

export function newPoolMark(poolId: string): Buffer {
  const mark = {
    format: FORMAT,
    version: VERSION,
    pool_id: poolId,
    digest_key: randomBytes(32).toString('hex'),
    created_at: new Date().toISOString(),
  };
  return Buffer.from(`${JSON.stringify(mark, null, 2)}\n`);
}

/** PermanentError `pool_path_in_use` for a mark that is none, or of a newer version; `where` is for the message. */
export function parsePoolMark(bytes: Buffer, where: string): PoolMark {
  let mark: Record<string, unknown>;
  try {
    mark = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw new PermanentError('pool_path_in_use', `The pool.json in the ${where} is not of openservice or is damaged.`, { cause });
  }
  if (mark.format !== FORMAT || typeof mark.pool_id !== 'string' || !/^[0-9a-f]{64}$/.test(String(mark.digest_key))) {
    throw new PermanentError('pool_path_in_use', `The pool.json in the ${where} is not that of an openservice packs pool.`);
  }
  if (mark.version !== VERSION) {
    throw new PermanentError(
      'unknown_format',
      `The pool in the ${where} has format version ${mark.version}; update this node to use it.`,
    );
  }
  return { poolId: mark.pool_id, digestKey: Buffer.from(String(mark.digest_key), 'hex') };
}

/** A chunk's id in the pool: keyed, so that ids tell a stranger nothing of the content. */
export function chunkId(digestKey: Buffer, digest: Buffer): Buffer {
  return Blake3Hasher.newKeyed(digestKey).update(digest).digestBuffer();
}
