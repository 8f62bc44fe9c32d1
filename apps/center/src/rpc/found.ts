/** `rebuild`: what a pool holds comes in batches, and the rows that the center lacks are made. */
import { isTerminal, PermanentError } from '@openservice/domain';
import { jobParams } from '@openservice/protocol';
import type { CenterReply, CenterRequest } from '@openservice/runtime';
import { type EntityManager, inTransaction, type Job } from '@openservice/store';
import { lockJob } from '../jobs/transition.ts';
import type { Plane } from '../plane.ts';
import { addFound, type Counted } from './found-block.ts';

/**
 * Each batch in one transaction; a batch that comes again finds its rows there and adds nothing. The job has the pool to itself, so nothing of
 * what it lists can have gone meanwhile. PermanentError `attempt_void` for an attempt that is not the job's current one.
 */
export async function found(
  { database }: Pick<Plane, 'database'>,
  { trashMs }: { trashMs: number },
  request: CenterRequest<'found'>,
  node: string,
): Promise<CenterReply<'found'>> {
  return inTransaction(database, async (manager) => {
    mustBeCurrent(await lockJob(manager, request.job_id), request, node);
    const reply: CenterReply<'found'> = { added: 0, known: 0, conflicts: [] };
    const counted: Counted = { trashMs, blocks: 0, stored: 0, logical: 0 };
    // Blocks in order of id, then the pool: everybody locks so.
    for (const block of request.blocks.toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
      const outcome = await addFound(manager, request.pool_id, block, counted);
      if (outcome === 'added' || outcome === 'known') reply[outcome] += 1;
      else reply.conflicts.push(outcome);
    }
    await countInPool(manager, request.pool_id, counted);
    return reply;
  });
}

function mustBeCurrent(job: Job | null, request: CenterRequest<'found'>, node: string): void {
  const why = voidBecause(job, request, node);
  if (why !== null) throw new PermanentError('attempt_void', why);
}

function voidBecause(job: Job | null, request: CenterRequest<'found'>, node: string): string | null {
  if (job === null || job.kind !== 'rebuild') return `There is no job ${request.job_id} that rebuilds a pool.`;
  if (job.node_id !== node) return `The job is on node ${job.node_id}.`;
  if (job.attempt !== request.attempt) return `Attempt ${request.attempt} is void; the job is at attempt ${job.attempt}.`;
  if (isTerminal(job.state) || job.state === 'cancelling') return `The job is ${job.state}.`;
  const { pool_id } = jobParams.rebuild.parse(job.params);
  return pool_id === request.pool_id ? null : `The job rebuilds pool ${pool_id}, not ${request.pool_id}.`;
}

async function countInPool(manager: EntityManager, poolId: string, { blocks, stored, logical }: Counted): Promise<void> {
  if (blocks === 0) return;
  await manager.query(
    'UPDATE pools SET stored_bytes = stored_bytes + ?, logical_bytes = logical_bytes + ?, block_count = block_count + ? WHERE id = ?',
    [stored, logical, blocks, poolId],
  );
}
