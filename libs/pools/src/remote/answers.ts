/** JSON answers of the pool server, checked. */
import { isBlockShape, PermanentError } from '@openservice/domain';
import { DIGEST_BYTES } from '../manifest.ts';
import type { BlockMeta, BlockStat, CollectReport, PoolProbe, Prepared } from '../pool.ts';

export function statFrom(value: unknown): BlockStat {
  const { block_id, size, chunk_size, root_digest, stored_bytes, trashed, meta } = fields(value);
  return {
    blockId: text(block_id),
    ...shape(size, chunk_size),
    rootDigest: digest(root_digest),
    storedBytes: whole(stored_bytes),
    trashed: trashed === true,
    meta: (meta ?? null) as BlockMeta | null,
  };
}

export function statToWire(stat: BlockStat): Record<string, unknown> {
  return {
    block_id: stat.blockId,
    size: stat.size,
    chunk_size: stat.chunkSize,
    root_digest: stat.rootDigest.toString('hex'),
    stored_bytes: stat.storedBytes,
    trashed: stat.trashed === true,
    meta: stat.meta ?? null,
  };
}

/** A block of a list that is damaged: in the place of its stat. */
export function damagedFrom(value: unknown): { blockId: string; error: PermanentError } {
  const { block_id, code, message } = fields(value);
  return { blockId: text(block_id), error: new PermanentError(text(code), text(message)) };
}

export function damagedToWire(blockId: string, { code, message }: PermanentError): Record<string, unknown> {
  return { damaged: { block_id: blockId, code, message } };
}

export function preparedFrom(value: unknown): Prepared {
  const { root_digest, stored_bytes } = fields(value);
  return { rootDigest: digest(root_digest), storedBytes: whole(stored_bytes) };
}

export function probeFrom(value: unknown): PoolProbe {
  const { capacity_bytes, fencing } = fields(value);
  if (fencing !== 'strict' && fencing !== 'advisory') throw bad();
  return { capacityBytes: capacity_bytes === null ? null : whole(capacity_bytes), fencing };
}

export function reportFrom(value: unknown): CollectReport {
  const { removed_objects, freed_bytes, live_bytes, kept_objects, waiting_for, damaged } = fields(value);
  return {
    removedObjects: whole(removed_objects),
    freedBytes: whole(freed_bytes),
    liveBytes: whole(live_bytes),
    keptObjects: whole(kept_objects),
    waitingFor: list(waiting_for).map(text),
    damaged: list(damaged).map((one) => ({ blockId: text(fields(one).block_id), message: text(fields(one).message) })),
  };
}

export function reportToWire(report: CollectReport): Record<string, unknown> {
  return {
    removed_objects: report.removedObjects,
    freed_bytes: report.freedBytes,
    live_bytes: report.liveBytes,
    kept_objects: report.keptObjects,
    waiting_for: report.waitingFor,
    damaged: report.damaged.map(({ blockId, message }) => ({ block_id: blockId, message })),
  };
}

export interface OpenedBlock {
  size: number;
  chunkSize: number;
  rootDigest: Buffer;
  /** The server tells digests without reading chunks. */
  digests: boolean;
}

export function openedFrom(value: unknown): OpenedBlock {
  const { size, chunk_size, root_digest, digests } = fields(value);
  return { ...shape(size, chunk_size), rootDigest: digest(root_digest), digests: digests === true };
}

export function fields(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw bad();
  return value as Record<string, unknown>;
}

export function list(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw bad();
  return value;
}

export function whole(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw bad();
  return value as number;
}

function shape(size: unknown, chunkSize: unknown): { size: number; chunkSize: number } {
  const found = { size: whole(size), chunkSize: whole(chunkSize) };
  if (!isBlockShape(found.size, found.chunkSize)) throw bad();
  return found;
}

export function text(value: unknown): string {
  if (typeof value !== 'string') throw bad();
  return value;
}

export function digest(value: unknown): Buffer {
  const bytes = Buffer.from(text(value), 'hex');
  if (bytes.length !== DIGEST_BYTES) throw bad();
  return bytes;
}

function bad(): PermanentError {
  return new PermanentError('not_a_pool_server', 'The pool server gave an answer that this version does not understand.');
}
