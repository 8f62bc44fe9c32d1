import type { ChunkWorkers } from '@openservice/codec';
import type { PoolRight } from '@openservice/protocol';

/** What a driver needs of the process that opens a pool. */
export interface PoolEnvironment {
  /** Shared by all pools of the process; a pool does not close them. */
  workers: ChunkWorkers;
  /** Directory for caches that may be lost at any time; left out: caches are kept in memory, for tests and short runs. */
  cacheDir?: string;
  /** A token for a pool server, from this node's center; kept by the caller as long as it is good. */
  poolToken?: (poolId: string, blockId: string | null, right: PoolRight, signal: AbortSignal) => Promise<string>;
  /** A pool server refused this token of `poolToken`: the next call for the same asks anew. Left out: tokens are not kept. */
  dropPoolToken?: (token: string) => void;
}
