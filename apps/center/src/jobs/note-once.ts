/** A state that lasts is noted once, not at every pass. */
import type { EntityManager, Job } from '@openservice/store';
import { addHistory } from './transition.ts';

/** Adds `note` to the job's history unless it is what was noted last. The job's row is locked. */
export async function noteOnce(manager: EntityManager, job: Job, note: string): Promise<void> {
  const [last] = await manager.query<{ note: string | null }[]>(
    'SELECT note FROM job_transitions WHERE job_id = ? ORDER BY id DESC LIMIT 1',
    [job.id],
  );
  if (last?.note !== note) await addHistory(manager, job, job.state, job.state, note);
}
