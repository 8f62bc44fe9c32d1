/** What the handlers of jobs stand on. */
import type { ChunkWorkers } from '@openservice/codec';
import type { ImportRoots } from '../import-roots.ts';
import type { PoolAccess } from '../pools-access.ts';

export interface JobDeps {
  readonly pools: PoolAccess;
  /** The only way from a path to a file. */
  readonly importRoots: Pick<ImportRoots, 'openSource' | 'resolveOwnTarget'>;
  readonly workers: ChunkWorkers;
}
