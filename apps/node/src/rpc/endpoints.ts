/** What this node answers to centers: one file a method. */
import type { Agent } from '@openservice/agent';
import type { NodeEndpoints } from '@openservice/runtime';
import type { JobDeps } from '../jobs/deps.ts';
import type { Instances } from '../mounts/instances.ts';
import type { Pools } from '../pools-access.ts';
import { contentDrop } from './content-drop.ts';
import { have } from './have.ts';
import { instanceStat } from './instance-stat.ts';
import { PoolBlocks } from './pool-blocks.ts';
import { poolProbe } from './pool-probe.ts';
import { sourceProbe } from './source-probe.ts';
import { targetProbe } from './target-probe.ts';

export interface EndpointDeps extends JobDeps {
  readonly agent: Agent;
  readonly pools: Pools;
  readonly instances: Instances;
}

export function makeEndpoints(deps: EndpointDeps): NodeEndpoints {
  const poolBlocks = new PoolBlocks(deps.pools);
  return {
    pool_blocks: (request) => poolBlocks.answer(request),
    pool_probe: (request) => poolProbe(deps.pools, request),
    source_probe: (request) => sourceProbe(deps, request),
    target_probe: (request) => targetProbe(deps, request),
    content_drop: (request) => contentDrop(deps.content, request),
    instance_stat: (request) => instanceStat(deps.instances, request),
    have: (request) => have(deps.agent, request),
  };
}
