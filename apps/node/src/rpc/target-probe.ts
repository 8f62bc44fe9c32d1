import type { NodeReply, NodeRequest } from '@openservice/runtime';
import { probeTarget } from '../targets/open-target.ts';
import type { TargetDeps } from '../targets/port.ts';

/** Errors are those of probeTarget. */
export async function targetProbe(deps: TargetDeps, request: NodeRequest<'target_probe'>): Promise<NodeReply<'target_probe'>> {
  await probeTarget(deps, request);
  return {};
}
