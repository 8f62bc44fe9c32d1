/** Damaged chunks of a replica are written anew from other replicas of the block. */
import type { JobContext } from '@openservice/agent';
import { sharedBuffer } from '@openservice/codec';
import { chunkLength, PermanentError } from '@openservice/domain';
import { type BlockReader, isHole, type Pool } from '@openservice/pools';
import type { BlockRef } from '@openservice/protocol';
import { openReplica } from './copy-to-pool.ts';
import type { JobDeps } from './deps.ts';
import { isUnreadable } from './replica-check.ts';

export interface Repaired {
  /** Chunks that stay damaged, ascending. */
  left: number[];
  /** Sentences: what was repaired from where, and what could not serve. */
  notes: string[];
}

interface Donor {
  poolId: string;
  reader: BlockReader;
  chunks: number;
}

/**
 * Each of `chunks` gets its bytes from the first pool of `from` that has them good, and is read again to prove it. One that
 * nobody has good is marked, so that no new block relies on it.
 */
export async function repairChunks(
  deps: JobDeps,
  context: Pick<JobContext<unknown>, 'signal' | 'assertLease'>,
  pool: Pool,
  block: BlockRef,
  chunks: readonly number[],
  from: readonly string[],
): Promise<Repaired> {
  const { signal } = context;
  const notes: string[] = [];
  const donors: Donor[] = [];
  const buffer = sharedBuffer(block.chunk_size);
  const failures = new Set<string>();
  const written: number[] = [];
  const left: number[] = [];
  try {
    for (const poolId of from) {
      const reader = await openDonor(deps, poolId, block, signal, notes);
      if (reader !== null) donors.push({ poolId, reader, chunks: 0 });
    }
    for (const index of chunks) {
      const donor = await readFrom(donors, index, buffer, signal);
      context.assertLease();
      const bytes = donor === null ? null : buffer.subarray(0, chunkLength(block.size, block.chunk_size, index));
      const failed = await repairOne(pool, block.id, index, bytes, signal);
      if (failed !== null) failures.add(failed);
      if (failed !== null || donor === null) {
        left.push(index);
        continue;
      }
      written.push(index);
      donor.chunks += 1;
    }
  } finally {
    for (const { reader } of donors) await reader.close();
  }
  left.push(...(await stillDamaged(pool, block, written, buffer, signal)));
  for (const donor of donors) {
    if (donor.chunks > 0)
      notes.push(`${donor.chunks} damaged chunks in pool ${pool.id} were written anew from pool ${donor.poolId}.`);
  }
  for (const failure of failures) notes.push(`Pool ${pool.id} did not take a repair: ${failure}`);
  return { left: left.sort((a, b) => a - b), notes };
}

/** Why the pool did not take it, or null: a finding must not be lost because its repair failed. */
async function repairOne(
  pool: Pool,
  blockId: string,
  index: number,
  bytes: Buffer | null,
  signal: AbortSignal,
): Promise<string | null> {
  try {
    await pool.repair(blockId, index, bytes, signal);
    return null;
  } catch (error) {
    if (error instanceof PermanentError) return error.message;
    throw error;
  }
}

/** Null, with a note, where the replica cannot serve. */
async function openDonor(
  deps: JobDeps,
  poolId: string,
  block: BlockRef,
  signal: AbortSignal,
  notes: string[],
): Promise<BlockReader | null> {
  try {
    return await openReplica(deps, poolId, block, signal);
  } catch (error) {
    if (!isUnreadable(error) && (error as { code?: string }).code !== 'digest_mismatch') throw error;
    notes.push(`Pool ${poolId} could not serve to repair from: ${(error as Error).message}`);
    return null;
  }
}

/** Fills `buffer` with chunk `index` from the first that has it good; null where none has. */
async function readFrom(donors: readonly Donor[], index: number, buffer: Buffer, signal: AbortSignal): Promise<Donor | null> {
  for (const donor of donors) {
    try {
      // A reader leaves the buffer of a hole as it was.
      if (isHole(await donor.reader.readChunk(index, buffer, signal))) buffer.fill(0);
      return donor;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
    }
  }
  return null;
}

/** Read by a reader that was opened after the repair: it knows where the new bytes lie. */
async function stillDamaged(
  pool: Pool,
  block: BlockRef,
  written: readonly number[],
  buffer: Buffer,
  signal: AbortSignal,
): Promise<number[]> {
  if (written.length === 0) return [];
  const damaged: number[] = [];
  const reader = await pool.openReader(block.id, signal);
  try {
    for (const index of written) {
      try {
        await reader.readChunk(index, buffer, signal);
      } catch (error) {
        if (!isUnreadable(error)) throw error;
        damaged.push(index);
      }
    }
  } finally {
    await reader.close();
  }
  return damaged;
}
