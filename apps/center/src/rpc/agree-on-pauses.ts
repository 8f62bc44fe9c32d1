/** What stands still at the node and what should: a pause or a resume that one of the two has lost (an old backup, a lost journal) is told again. */
import type { JobState } from '@openservice/domain';
import type { HeldAttempt } from '@openservice/protocol';
import { type DataSource, inTransaction } from '@openservice/store';
import { closeCommands, command } from '../jobs/attempts.ts';
import { resumeAtNode } from '../jobs/pause-job.ts';
import { lockJob, move } from '../jobs/transition.ts';
import { SETTLED_MS, settledFor } from './lost-jobs.ts';

interface Known {
  attempt: number;
  state: JobState;
  pause_wanted: number | boolean;
}

/** `held` and `jobs` of one node. True when commands were written for the relay. */
export async function agreeOnPauses(
  database: DataSource,
  held: readonly HeldAttempt[],
  jobs: ReadonlyMap<string, Known>,
): Promise<boolean> {
  let written = false;
  for (const one of held) {
    const job = jobs.get(one.job_id);
    if (job === undefined || job.attempt !== one.attempt) continue;
    if ((one.state === 'paused') !== (job.state === 'paused') || (job.state === 'paused' && job.pause_wanted))
      written = (await agree(database, one)) || written;
  }
  return written;
}

async function agree(database: DataSource, held: HeldAttempt): Promise<boolean> {
  return inTransaction(database, async (manager) => {
    const job = await lockJob(manager, held.job_id);
    if (job === null || job.attempt !== held.attempt || held.state === 'finished') return false;
    const stands = held.state === 'paused';
    if (stands && job.state === 'paused') {
      if (job.pause_wanted) await closeCommands(manager, job.id, { type: 'pause' });
      return false;
    }
    if (job.state !== 'paused' && !stands) return false;
    if ((await settledFor(manager, job.id)) < SETTLED_MS) return false;
    if (!(await move(manager, job, stands ? 'paused' : 'running', `Node ${job.node_id} says so.`))) return false;
    if (stands && !job.pause_wanted) await resumeAtNode(manager, job);
    if (!stands && job.pause_wanted) await command(manager, job, 'pause');
    return true;
  });
}
