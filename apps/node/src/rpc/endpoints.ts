/** What this node answers to centers: one file a method. */
import type { Agent } from '@openservice/agent';
import type { NodeEndpoints } from '@openservice/runtime';
import type { ImportRoots } from '../import-roots.ts';
import type { Pools } from '../pools-access.ts';
import { have } from './have.ts';
import { poolProbe } from './pool-probe.ts';
import { sourceProbe } from './source-probe.ts';
import { targetProbe } from './target-probe.ts';

export function makeEndpoints(deps: { agent: Agent; pools: Pools; importRoots: ImportRoots }): NodeEndpoints {
  return {
    pool_probe: (request) => poolProbe(deps.pools, request),
    source_probe: (request) => sourceProbe(deps.importRoots, request),
    target_probe: (request) => targetProbe(deps.importRoots, request),
    have: (request) => have(deps.agent, request),
  };
}
