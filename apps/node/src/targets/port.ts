/** What a restore writes outside of pools: a file, a block device, an NBD export. */
import type { ChunkWorkers } from '@openservice/codec';
import type { BlockWriter } from '@openservice/pools';
import type { ImportRoots } from '../import-roots.ts';

export interface TargetDeps {
  /** The only way from a path to a file. */
  readonly importRoots: Pick<ImportRoots, 'openTarget' | 'resolveTarget' | 'resolveOwnTarget' | 'freeBytes'>;
  readonly workers: ChunkWorkers;
}

export type TargetRef = { type: 'file'; path: string } | { type: 'nbd'; uri: string };

export interface TargetOptions {
  /** Exact bytes of the block. */
  size: number;
  chunkSize: number;
  jobId: string;
  /** `state` as the last checkpoint of this job has it; null: begin anew. */
  resume: unknown;
  /** Chunks that are equal there already are not written; a file that exists is written over, in place. */
  delta: boolean;
  signal: AbortSignal;
}

export interface RestoreTarget extends BlockWriter {
  /** True when an earlier run has committed: nothing is left to do. */
  readonly committed: boolean;
  /** Small JSON to journal: once right after opening, then after each checkpoint() and prepare(). */
  readonly state: unknown;
}
