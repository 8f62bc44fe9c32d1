/** What a block is made of: which node reads it, and what that node sees there now. */
import { MAX_BLOCK_SIZE } from '@openservice/domain';
import type { SourceRef } from '@openservice/protocol';
import type { NodeRequest } from '@openservice/runtime';
import type { Pool } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import type { BlockSource } from '../routes/schemas/create-block.ts';
import { chooseNode, nodeOfPool } from './placement.ts';
import { probed } from './probed-place.ts';
import { invalidRequest, Refusal } from './refusal.ts';

/** A slow web server may take as long. */
const PROBE_LIMIT_MS = 20_000;
const FIELD = { file: 'path', http: 'url', nbd: 'uri' } as const;

export interface Seen {
  nodeId: string;
  /** Bytes of the disk. */
  size: number;
  ref: SourceRef;
}

/** A file is read by its own node, into whatever pool; all else by the node asked for, else the target's, else any. */
export async function lookAt(deps: AppDeps, source: BlockSource, target: Pool, size: number | undefined): Promise<Seen> {
  if (source.type === 'file' && source.node_id === undefined && nodeOfPool(target) === null) {
    throw invalidRequest([{ path: 'source.node_id', message: `is required: pool ${target.id} belongs to no node` }]);
  }
  const node = await chooseNode(deps.database.manager, source.node_id, [target]);
  const look = deps.nodes.call(node.id, 'source_probe', { source: probeOf(source) }, { timeoutMs: PROBE_LIMIT_MS });
  const seen = await probed(`source.${FIELD[source.type]}`, node.id, look);
  checkSize(seen.size, size);
  if (source.type === 'nbd') return { nodeId: node.id, size: seen.size, ref: { type: 'nbd', uri: source.uri } };
  if (source.type === 'file') {
    const ref = { type: 'file' as const, node_id: node.id, path: source.path, format: seen.format };
    return { nodeId: node.id, size: seen.size, ref };
  }
  const identity = { etag: seen.etag, last_modified: seen.last_modified };
  return { nodeId: node.id, size: seen.size, ref: { type: 'http', url: source.url, format: seen.format, identity } };
}

export type ShownSource = Readonly<Record<string, string | object>>;

/** As the API shows it. The query of a URL may be a signature that opens it: it stays with the job alone. */
export function shownSource(ref: SourceRef): ShownSource {
  if (ref.type !== 'http') return ref;
  return { type: ref.type, url: ref.url.replace(/\?.*$/s, '?…'), format: ref.format };
}

function probeOf(source: BlockSource): NodeRequest<'source_probe'>['source'] {
  if (source.type === 'nbd') return { type: 'nbd', uri: source.uri };
  const format = source.format ?? null;
  return source.type === 'file' ? { type: 'file', path: source.path, format } : { type: 'http', url: source.url, format };
}

function checkSize(found: number, expected: number | undefined): void {
  if (found === 0) throw new Refusal('source_empty', 'The source has no bytes; a disk has one at least.');
  if (found > MAX_BLOCK_SIZE) throw new Refusal('source_too_large', `The source has ${found} bytes; a disk has 64 TiB at most.`);
  if (expected === undefined || expected === found) return;
  throw new Refusal(
    'source_size_differs',
    `The source has ${found} bytes, not ${expected}; leave size out, or see that it is the right file.`,
    {
      errors: [{ path: 'size', message: `the source has ${found} bytes` }],
    },
  );
}
