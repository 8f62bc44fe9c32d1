/** How many jobs a node or a pool has at a time, and how fast they may move bytes. */
import { NodeSchema, PoolSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { audit } from '../jobs/submit-job.ts';
import type { Limits } from '../routes/schemas/fields.ts';
import { type Answer, decide } from './answers.ts';
import type { Caller } from './caller.ts';
import { findNode, findPool } from './lookups.ts';
import { nodeView, poolView } from './views.ts';

/** Jobs that are there go on, also where they are more. The node hears of a bandwidth with its next heartbeat. */
export async function limitNode(deps: AppDeps, id: string, limits: Limits, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    await findNode(manager, id);
    await manager.update(NodeSchema, { id }, given(limits));
    if (limits.bandwidth !== undefined) await manager.query('UPDATE nodes SET sync_wanted = 1 WHERE id = ?', [id]);
    await audit(manager, caller.tokenId, 'node.limit', id, limits);
    return { status: 200, body: { node: nodeView(await findNode(manager, id)) } };
  });
  deps.relay.poke();
  return answer;
}

/** As for a node; every node hears of it. */
export async function limitPool(deps: AppDeps, id: string, limits: Limits, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    await findPool(manager, id);
    await manager.update(PoolSchema, { id }, given(limits));
    if (limits.bandwidth !== undefined) await manager.query('UPDATE nodes SET sync_wanted = 1');
    await audit(manager, caller.tokenId, 'pool.limit', id, limits);
    return { status: 200, body: { pool: poolView(await findPool(manager, id)) } };
  });
  deps.relay.poke();
  return answer;
}

function given({ max_jobs, bandwidth }: Limits): { max_jobs?: number | null; bandwidth?: number | null } {
  return { ...(max_jobs === undefined ? {} : { max_jobs }), ...(bandwidth === undefined ? {} : { bandwidth }) };
}
