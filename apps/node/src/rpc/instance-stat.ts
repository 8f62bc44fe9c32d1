import type { NodeReply, NodeRequest } from '@openservice/runtime';
import type { Instances } from '../mounts/instances.ts';

/** Errors are those of Instances.get. */
export function instanceStat(
  instances: Pick<Instances, 'report'>,
  request: NodeRequest<'instance_stat'>,
): Promise<NodeReply<'instance_stat'>> {
  return instances.report(request.instance_id);
}
