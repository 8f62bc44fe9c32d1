/** What the handlers of jobs stand on. */
import type { CenterReply, CenterRequest } from '@openservice/runtime';
import type { ByteLimits } from '../byte-limits.ts';
import type { ContentStore } from '../content/content-store.ts';
import type { Instances } from '../mounts/instances.ts';
import type { PoolAccess } from '../pools-access.ts';
import type { SourceDeps } from '../sources/open-source.ts';
import type { TargetDeps } from '../targets/port.ts';

/** What handlers ask of a center beside the agent's protocol. Waits while no center answers; rejects soon after `signal` fires. */
export interface CenterCalls {
  record(request: CenterRequest<'record'>, signal: AbortSignal): Promise<CenterReply<'record'>>;
  found(request: CenterRequest<'found'>, signal: AbortSignal): Promise<CenterReply<'found'>>;
}

export interface JobDeps extends SourceDeps, TargetDeps {
  readonly importRoots: SourceDeps['importRoots'] & TargetDeps['importRoots'];
  readonly pools: PoolAccess;
  readonly center: CenterCalls;
  readonly limits: Pick<ByteLimits, 'of'>;
  /** What clients sent; dropped once it is a block. */
  readonly content: SourceDeps['content'] & Pick<ContentStore, 'drop'>;
  readonly instances: Pick<Instances, 'load' | 'undoLoad' | 'unload' | 'hold' | 'letGo' | 'get'>;
}
