/** Reads one replica and compares it with what the block is. Damage is an answer, not an error. */
import { PermanentError } from '@openservice/domain';
import type { BlockReader, Pool } from '@openservice/pools';
import type { BlockRef } from '@openservice/protocol';
import { type TransferCounters, type VerifyReport, verifySource } from '@openservice/transfer';
import { JOB_WINDOW } from './replicate.ts';

/** What openReader says of a replica that is damaged beyond reading; anything else is an error of the job. */
const UNREADABLE = new Set([
  'block_not_in_pool',
  'damaged_block',
  'damaged_manifest',
  'damaged_ledger',
  'damaged_chunk',
  'damaged_pack',
  'damaged_object',
  'object_not_found',
]);
/** Damaged chunks that are told one by one, to be repaired: bounds memory. */
const MAX_CHUNKS = 100_000;

export interface CheckOptions {
  pool: Pool;
  block: BlockRef;
  /** Part of the chunks that are read: more than 0, 1 is all. */
  sample: number;
  /** Bytes a second, or null for no limit. */
  bandwidth: number | null;
  signal: AbortSignal;
  onProgress?: (counters: TransferCounters) => void;
}

export interface Check {
  /** Sentences; none: all that was read is good. */
  damage: string[];
  /** The damaged chunks where only chunks are damaged, ascending; empty where the replica as a whole cannot be read. */
  chunks: number[];
  /** More chunks than `chunks` names are damaged. */
  more: boolean;
}

export async function checkReplica(options: CheckOptions): Promise<Check> {
  const { pool, block, signal } = options;
  const chunks: number[] = [];
  let reader: BlockReader | null = null;
  try {
    reader = await pool.openReader(block.id, signal);
    const mismatch = headMismatch(reader, block);
    if (mismatch !== null) return beyondReading(mismatch);
    const report = await verifySource({
      source: reader,
      expectedRoot: Buffer.from(block.root_digest, 'hex'),
      signal,
      window: JOB_WINDOW,
      sample: options.sample,
      bandwidth: options.bandwidth,
      onDamage: (index) => {
        if (chunks.length < MAX_CHUNKS) chunks.push(index);
      },
      ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
    });
    if (report.intact) return { damage: [], chunks: [], more: false };
    chunks.sort((a, b) => a - b);
    return { damage: sentences(report, block), chunks, more: report.damagedChunks > chunks.length };
  } catch (error) {
    if (isUnreadable(error)) return beyondReading(error.message);
    throw error;
  } finally {
    await reader?.close();
  }
}

/** True for what a pool throws when the data of a block is damaged or gone. */
export function isUnreadable(error: unknown): error is PermanentError {
  return error instanceof PermanentError && UNREADABLE.has(error.code);
}

function beyondReading(message: string): Check {
  return { damage: [message], chunks: [], more: false };
}

function headMismatch(reader: BlockReader, block: BlockRef): string | null {
  if (reader.size !== block.size || reader.chunkSize !== block.chunk_size) {
    return `The replica has ${reader.size} bytes in chunks of ${reader.chunkSize}; expected were ${block.size} in chunks of ${block.chunk_size}.`;
  }
  const root = reader.rootDigest.toString('hex');
  return root === block.root_digest ? null : `The replica is of digest ${root}; expected was ${block.root_digest}.`;
}

function sentences(report: VerifyReport, block: BlockRef): string[] {
  if (report.damagedChunks === 0) {
    return [`All chunks can be read, but make up digest ${report.rootDigest?.toString('hex')} instead of ${block.root_digest}.`];
  }
  return report.damage.map(({ first, count }) => rangeSentence(first, count, block));
}

/** `Bytes … to … (… chunks from chunk … on) are damaged.` */
export function rangeSentence(first: number, count: number, block: Pick<BlockRef, 'size' | 'chunk_size'>): string {
  const end = Math.min((first + count) * block.chunk_size, block.size);
  return `Bytes ${first * block.chunk_size} to ${end - 1} (${count} chunks from chunk ${first} on) are damaged.`;
}
