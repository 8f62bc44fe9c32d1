/** The turning point of a move, the center's half: the target was read back and counts from here on, the source is on its way out. */
import { type CenterReply, type CenterRequest, failpoint } from '@openservice/runtime';
import { type EntityManager, inTransaction } from '@openservice/store';
import { type BlockRow, lockBlock } from '../jobs/apply/effects.ts';
import { isThere, moveRecorded } from '../jobs/apply/move.ts';
import { lockJob } from '../jobs/transition.ts';
import type { Plane } from '../plane.ts';

/** Refused for every attempt but the job's current one, and before it was let through to commit. Repeated: the same answer. */
export async function record(
  { database }: Pick<Plane, 'database'>,
  request: CenterRequest<'record'>,
  node: string,
): Promise<CenterReply<'record'>> {
  const reply = await inTransaction(database, (manager) => recordIn(manager, request, node));
  await failpoint('center.recorded');
  return reply;
}

async function recordIn(manager: EntityManager, request: CenterRequest<'record'>, node: string): Promise<CenterReply<'record'>> {
  const refuse = (reason: string): CenterReply<'record'> => ({ recorded: false, reason });
  const job = await lockJob(manager, request.job_id);
  if (job === null) return refuse(`There is no job ${request.job_id}.`);
  if (job.node_id !== node) return refuse(`The job is on node ${job.node_id}.`);
  if (job.kind !== 'move') return refuse(`The job is a job of kind ${job.kind}; only a move is recorded.`);
  if (job.attempt !== request.attempt || job.fence !== request.fence) {
    return refuse(`Attempt ${request.attempt} is void; the job is at attempt ${job.attempt}.`);
  }
  if (job.state !== 'committing' && job.state !== 'succeeded') return refuse(`The job is ${job.state}.`);
  const block = await lockBlock(manager, job.block_id);
  if (block?.state !== 'available') return refuse(`Block ${job.block_id} is ${block?.state ?? 'gone'}.`);
  if (!request.result.verified) return refuse('The target was not read back.');
  await moveRecorded(manager, job, block, request.result);
  return (await targetIsThere(manager, job.params, block))
    ? { recorded: true, reason: '' }
    : refuse('The result names no available replica in the target pool.');
}

async function targetIsThere(manager: EntityManager, params: Record<string, unknown>, block: BlockRow): Promise<boolean> {
  return typeof params.pool_id === 'string' && (await isThere(manager, block, params.pool_id));
}
