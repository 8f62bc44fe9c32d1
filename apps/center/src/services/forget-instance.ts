/** An instance whose node is gone for good: its rows go, and nobody is asked. */
import { isCancellable } from '@openservice/domain';
import type { EntityManager } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { cancelJob } from '../jobs/cancel-job.ts';
import { audit } from '../jobs/submit-job.ts';
import { lockJob } from '../jobs/transition.ts';
import { type Answer, decide } from './answers.ts';
import { type Caller, mayActAs } from './caller.ts';
import { deleteInstance, findInstance } from './instance-rows.ts';
import { findNode } from './lookups.ts';
import { Refusal } from './refusal.ts';

/**
 * Refused while the node is there and the instance is well: it would be served on, known to nobody. Should the node come back after all, its
 * next sync tells it that the instance is unknown; the node keeps what was written until a person decides.
 */
export async function forgetInstance(deps: AppDeps, id: string, caller: Caller): Promise<Answer> {
  if (!mayActAs(caller, 'admin')) {
    throw new Refusal('forbidden', `force=true needs the role admin; the token has the role ${caller.role}.`);
  }
  const answer = await decide(deps.database, async (manager): Promise<Answer> => {
    const instance = await findInstance(manager, id);
    const { node_id } = instance;
    const node = await findNode(manager, node_id);
    if (node.state !== 'offline' && instance.state !== 'error') {
      throw new Refusal(
        'node_online',
        `Node ${node_id} of instance ${id} is ${node.state}; remove the instance without force. With force, only one whose node is offline, or that is in error.`,
      );
    }
    await cancelItsJobs(manager, id, caller);
    await deleteInstance(manager, id);
    await audit(manager, caller.tokenId, 'cdm_instance.forget', id, {
      name: instance.name,
      node_id,
      warning: `Node ${node_id} was not asked; should it come back, it still holds the instance and what was written to it.`,
    });
    return { status: 200, body: { 'ins-id': id, 'job-id': null } };
  });
  deps.relay.poke();
  return answer;
}

/** What the node has not done yet it need not do. What is being committed comes to its end by itself. */
async function cancelItsJobs(manager: EntityManager, id: string, caller: Caller): Promise<void> {
  const claims = await manager.query<{ job_id: string }[]>('SELECT job_id FROM claims WHERE resource = ? ORDER BY job_id', [
    `instance:${id}`,
  ]);
  for (const { job_id } of claims) {
    const job = await lockJob(manager, job_id);
    if (job === null || !isCancellable(job.state)) continue;
    await cancelJob(manager, job_id, `Its instance was removed by force over the API by ${caller.tokenId}.`);
  }
}
