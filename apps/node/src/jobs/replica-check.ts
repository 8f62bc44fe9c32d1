/** Reads one replica and compares it with what the block is. Damage is an answer, not an error. */
import type { BlockReader, Pool } from '@openservice/pools';
import type { BlockRef } from '@openservice/protocol';
import { type ByteLimit, type TransferCounters, type VerifyReport, verifySource } from '@openservice/transfer';
import { isUnreadable } from '../unreadable.ts';
import { windowFor } from './replicate.ts';

export interface CheckOptions {
  pool: Pool;
  block: BlockRef;
  /** Part of the chunks that are read: more than 0, 1 is all. */
  sample: number;
  /** Bytes a second, or null for no limit. */
  bandwidth: number | null;
  limits: readonly ByteLimit[];
  signal: AbortSignal;
  onProgress?: (counters: TransferCounters) => void;
  /** As in VerifyOptions: true where the chunk was written anew. */
  onDamage?: (index: number, signal: AbortSignal) => Promise<boolean>;
}

/** Sentences; none: all that was read is good, or was made good. */
export async function checkReplica(options: CheckOptions): Promise<string[]> {
  const { pool, block, sample, bandwidth, limits, signal, onProgress, onDamage } = options;
  let reader: BlockReader | null = null;
  try {
    reader = await pool.openReader(block.id, signal);
    const mismatch = headMismatch(reader, block);
    if (mismatch !== null) return [mismatch];
    const report = await verifySource({
      source: reader,
      expectedRoot: Buffer.from(block.root_digest, 'hex'),
      signal,
      window: windowFor(block.chunk_size),
      sample,
      bandwidth,
      limits,
      ...(onProgress === undefined ? {} : { onProgress }),
      ...(onDamage === undefined ? {} : { onDamage }),
    });
    return report.intact ? [] : sentences(report, block);
  } catch (error) {
    if (isUnreadable(error)) return [error.message];
    throw error;
  } finally {
    await reader?.close();
  }
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
  return report.damage.map(({ first, count }) => {
    const end = Math.min((first + count) * block.chunk_size, block.size);
    return `Bytes ${first * block.chunk_size} to ${end - 1} (${count} chunks from chunk ${first} on) are damaged.`;
  });
}
