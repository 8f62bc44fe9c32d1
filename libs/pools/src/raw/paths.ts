/**
 * Raw layout, version 1, under a pool's directory:
 *
 *   pool.json                              marker {format, version, pool_id, created_at}
 *   reserve                                room for the ledger entries that free a full disk (`../reserve/backend.ts`)
 *   blocks/<block>/ledger/<8 digits>       who may write, and whether it is there (`../ledger.ts`): the truth
 *   blocks/<block>/disk.raw                the block's bytes as a sparse image that any tool reads
 *   blocks/<block>/digests                 manifest head, then 32 bytes a chunk; a hole's digest is a hole in the file
 *   blocks/<block>/<job>.raw.part …        the same, while job <job> writes; no reader looks at them
 *   blocks/<block>/<job>.durable.part      4 KiB of header, then one bit a chunk: set after the chunk was synced
 *
 * A part bears its job's name, so a writer that slept can never rename another job's part into place. Commit: the
 * ledger's `committed` entry, then the renames; whoever finds the entry without the files does the renames. Whoever makes, renames or
 * deletes files of a block holds its folder, and looks at the ledger under that lock (`block-files.ts`).
 */
import { join } from 'node:path';
import { PermanentError } from '@openservice/domain';
import { isKeySegment } from '../keys.ts';

export const MARKER_KEY = 'pool.json';
export const BLOCKS_FOLDER = 'blocks';

export interface PartPaths {
  data: string;
  digests: string;
  durable: string;
}

export function ledgerPrefix(blockId: string): string {
  return `${BLOCKS_FOLDER}/${segment(blockId)}/ledger`;
}

export function blockFolder(root: string, blockId: string): string {
  return join(root, BLOCKS_FOLDER, segment(blockId));
}

export function committedPaths(root: string, blockId: string): { data: string; digests: string } {
  const folder = blockFolder(root, blockId);
  return { data: join(folder, 'disk.raw'), digests: join(folder, 'digests') };
}

export function partPaths(root: string, blockId: string, jobId: string): PartPaths {
  const base = join(blockFolder(root, blockId), segment(jobId));
  return { data: `${base}.raw.part`, digests: `${base}.digests.part`, durable: `${base}.durable.part` };
}

export function partNames(jobId: string): string[] {
  return ['raw', 'digests', 'durable'].map((kind) => `${segment(jobId)}.${kind}.part`);
}

export function isPart(name: string): boolean {
  return /\.(?:raw|digests|durable)\.part$/.test(name);
}

export function isCommittedName(name: string): boolean {
  return name === 'disk.raw' || name === 'digests';
}

function segment(id: string): string {
  if (!isKeySegment(id))
    throw new PermanentError('invalid_key', `${JSON.stringify(id.slice(0, 80))} cannot name a block or job.`);
  return id;
}
