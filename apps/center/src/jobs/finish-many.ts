/** As `finish` in `transition.ts`, for many jobs that have succeeded: what that means beside their state, which `moveMany` has changed. */
import type { JobResult } from '@openservice/protocol';
import { type EntityManager, type Job, JobSchema } from '@openservice/store';
import { recordBlocks } from '../events/record.ts';
import { KINDS } from './apply/all.ts';
import { marks } from './transition-many.ts';

/** Their rows are locked, and stand at `succeeded`. */
export async function finishMany(manager: EntityManager, ended: readonly { id: string; result: JobResult }[]): Promise<void> {
  if (ended.length === 0) return;
  const results = new Map(ended.map(({ id, result }) => [id, result]));
  const ids = [...results.keys()];
  await manager.query(
    `UPDATE jobs SET result = CASE id ${'WHEN ? THEN ? '.repeat(ids.length)}END, eta_ms = 0, error_code = NULL, error_message = NULL
     WHERE id IN (${marks(ids.length)})`,
    [...ended.flatMap(({ id, result }) => [id, JSON.stringify(result)]), ...ids],
  );
  const jobs = await manager.createQueryBuilder(JobSchema, 'j').where('j.id IN (:...ids)', { ids }).getMany();
  // Always in the order of blocks: two centers that end many at once then wait for each other, and seldom each for the other.
  jobs.sort((a, b) => compare(a, b));
  for (const job of jobs) {
    const result = results.get(job.id);
    if (result !== undefined) await KINDS[job.kind].succeeded(manager, job, result);
  }
  await manager.query(`UPDATE outbox SET status = 'done' WHERE job_id IN (${marks(ids.length)}) AND status <> 'done'`, ids);
  await manager.query(`DELETE FROM claims WHERE job_id IN (${marks(ids.length)})`, ids);
  for (const job of jobs) await recordBlocks(manager, job);
}

function compare(a: Job, b: Job): number {
  const [one, other] = [`${a.block_id} ${a.id}`, `${b.block_id} ${b.id}`];
  return one < other ? -1 : 1;
}
