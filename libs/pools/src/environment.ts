import type { ChunkWorkers } from '@openservice/codec';

/** What a driver needs of the process that opens a pool. */
export interface PoolEnvironment {
  /** Shared by all pools of the process; a pool does not close them. */
  workers: ChunkWorkers;
}
