/** Damaged chunks of a replica are written anew from other replicas of the block, while it is verified. */

import type { JobContext } from '@openservice/agent';
import { sharedBuffer } from '@openservice/codec';
import { chunkLength, PermanentError } from '@openservice/domain';
import { type BlockReader, isHole, type Pool } from '@openservice/pools';
import type { BlockRef } from '@openservice/protocol';
import { isUnreadable } from '../unreadable.ts';
import { openReplica } from './copy-to-pool.ts';
import type { JobDeps } from './deps.ts';

interface Donor {
  poolId: string;
  reader: BlockReader;
  /** Chunks that it served. */
  chunks: number;
}

export interface RepairOptions {
  deps: JobDeps;
  context: Pick<JobContext<unknown>, 'awaitLease' | 'assertLease'>;
  /** Of the damaged replica. */
  pool: Pool;
  block: BlockRef;
  /** Pools to take good chunks from, in this order; may be none. */
  from: readonly string[];
}

/** Opens the other replicas at the first damaged chunk. One chunk at a time, whoever asks: damage is rare, and memory stays small. Close it. */
export class Repair {
  readonly #options: RepairOptions;
  /** Different ones, each once. */
  readonly #failures = new Set<string>();
  #donors: Donor[] | null = null;
  #buffer: Buffer | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: RepairOptions) {
    this.#options = options;
  }

  /**
   * Writes chunk `index` anew. False where nobody has it good, or the pool does not take it: then it is marked, so that no new block
   * relies on it.
   */
  mend(index: number, signal: AbortSignal): Promise<boolean> {
    const mended = this.#turn.then(() => this.#mend(index, signal));
    this.#turn = mended.catch(() => undefined);
    return mended;
  }

  /** Sentences: what came from where, and what could not serve. */
  notes(): string[] {
    const { pool } = this.#options;
    const served = (this.#donors ?? []).filter(({ chunks }) => chunks > 0);
    return [
      ...served.map(({ poolId, chunks }) => `${chunks} damaged chunks in pool ${pool.id} were written anew from pool ${poolId}.`),
      ...this.#failures,
    ];
  }

  async close(): Promise<void> {
    for (const { reader } of this.#donors ?? []) await reader.close();
  }

  async #mend(index: number, signal: AbortSignal): Promise<boolean> {
    const { context, block } = this.#options;
    this.#donors ??= await this.#openDonors(signal);
    this.#buffer ??= sharedBuffer(block.chunk_size);
    const donor = await readFrom(this.#donors, index, this.#buffer, signal);
    const bytes = donor === null ? null : this.#buffer.subarray(0, chunkLength(block.size, block.chunk_size, index));
    context.assertLease();
    if (!(await this.#write(index, bytes, signal)) || donor === null) return false;
    donor.chunks += 1;
    return true;
  }

  async #openDonors(signal: AbortSignal): Promise<Donor[]> {
    const { deps, context, block, from } = this.#options;
    await context.awaitLease();
    const donors: Donor[] = [];
    try {
      for (const poolId of from) {
        try {
          donors.push({ poolId, reader: await openReplica(deps, poolId, block, signal), chunks: 0 });
        } catch (error) {
          if (!isUnreadable(error) && (error as { code?: string }).code !== 'digest_mismatch') throw error;
          this.#failures.add(`Pool ${poolId} could not serve to repair from: ${(error as Error).message}`);
        }
      }
      return donors;
    } catch (error) {
      for (const { reader } of donors) await reader.close();
      throw error;
    }
  }

  /** False where the pool does not take it: a finding must not be lost because its repair failed. */
  async #write(index: number, bytes: Buffer | null, signal: AbortSignal): Promise<boolean> {
    const { pool, block } = this.#options;
    try {
      await pool.repair(block.id, index, bytes, signal);
      return true;
    } catch (error) {
      if (!(error instanceof PermanentError)) throw error;
      this.#failures.add(`Pool ${pool.id} did not take a repair: ${error.message}`);
      return false;
    }
  }
}

/** Fills `buffer` with chunk `index` from the first that has it good; null where none has. */
async function readFrom(donors: readonly Donor[], index: number, buffer: Buffer, signal: AbortSignal): Promise<Donor | null> {
  for (const donor of donors) {
    try {
      // A reader may leave the buffer of a hole as it was.
      if (isHole(await donor.reader.readChunk(index, buffer, signal))) buffer.fill(0);
      return donor;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
    }
  }
  return null;
}
