/** What the handlers of jobs stand on. */
import type { ChunkWorkers } from '@openservice/codec';
import type { CenterReply, CenterRequest } from '@openservice/runtime';
import type { ImportRoots } from '../import-roots.ts';
import type { PoolAccess } from '../pools-access.ts';

/** What handlers ask of a center beside the agent's protocol. Waits while no center answers; rejects soon after `signal` fires. */
export interface CenterCalls {
  record(request: CenterRequest<'record'>, signal: AbortSignal): Promise<CenterReply<'record'>>;
  found(request: CenterRequest<'found'>, signal: AbortSignal): Promise<CenterReply<'found'>>;
}

export interface JobDeps {
  readonly pools: PoolAccess;
  /** The only way from a path to a file. */
  readonly importRoots: Pick<ImportRoots, 'openSource' | 'resolveOwnTarget'>;
  readonly workers: ChunkWorkers;
  readonly center: CenterCalls;
}
