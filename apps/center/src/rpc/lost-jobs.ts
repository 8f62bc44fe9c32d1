/** Jobs that the center believes on a node which does not hold them: a command that was lost, or a journal that was. */
import type { HeldAttempt } from '@openservice/protocol';
import { type EntityManager, inTransaction, isDatabaseAway, type Job } from '@openservice/store';
import { commandRun, neverLeft, sendAgain } from '../jobs/attempts.ts';
import { NOW } from '../jobs/clock.ts';
import { retry } from '../jobs/retry-attempt.ts';
import { finish, lockJob, newAttempt } from '../jobs/transition.ts';
import type { Plane } from '../plane.ts';

/** A node that is there takes a command at once; one that is sent so often and not taken never will be. */
const MOST_SENT = 3;
/** The node may have taken, or ended, a job while its list was under way; younger states are left alone. */
export const SETTLED_MS = 15_000;
const AT_NODE = "'dispatched', 'accepted', 'running', 'paused', 'preparing', 'committing', 'cancelling'";

/** True when commands were written for the relay. */
export async function findLost(
  { database, log }: Pick<Plane, 'database' | 'log'>,
  nodeId: string,
  held: readonly HeldAttempt[],
): Promise<boolean> {
  const here = new Map(held.map((one) => [one.job_id, one]));
  const believed = await database.query<{ id: string; attempt: number; state: string }[]>(
    `SELECT id, attempt, state FROM jobs WHERE node_id = ? AND state IN (${AT_NODE})`,
    [nodeId],
  );
  let written = false;
  for (const { id, attempt, state } of believed) {
    const isHere = here.get(id)?.attempt === attempt;
    if (isHere && state !== 'cancelling') continue;
    try {
      const did = await inTransaction(database, async (manager) => {
        const job = await lockJob(manager, id);
        if (job === null || job.state !== state || job.attempt !== attempt) return false;
        return isHere ? sendAgain(manager, job, 'cancel') : replace(manager, job);
      });
      written ||= did;
    } catch (error) {
      if (isDatabaseAway(error)) throw error;
      // One job that cannot be mended must hold up neither the others nor the node's sync.
      log.error({ err: error, job_id: id }, 'A job that its node does not hold could not be mended; the next sync tries again.');
    }
  }
  return written;
}

async function replace(manager: EntityManager, job: Job): Promise<boolean> {
  if ((await settledFor(manager, job.id)) < SETTLED_MS) return false;
  if (job.state === 'dispatched') {
    // Never accepted: the same attempt may go again, a journal that has it after all takes it once.
    if ((await timesSent(manager, job)) < MOST_SENT) {
      if (!(await sendAgain(manager, job, 'run'))) await commandRun(manager, job);
      return true;
    }
    // A journal that knows this attempt as an old one passes it over: the database is an older one, and counts attempts again.
    const why = `Node ${job.node_id} is there and does not take attempt ${job.attempt}: it may know one of that number from before.`;
    return newAttempt(manager, job, why);
  }
  if (job.state === 'paused' && (await neverLeft(manager, job))) return false;
  if (job.state === 'cancelling') {
    await finish(manager, job, {
      state: 'cancelled',
      error: { code: 'cancelled', message: 'The job was cancelled; its node no longer held it.' },
    });
    return false;
  }
  // It was accepted, so its events are numbered; a journal that begins anew would number them from 1 again. Hence a new attempt.
  const error = {
    code: 'node_lost_job',
    message: `Node ${job.node_id} no longer holds the job: it gave the attempt up (past its lease, or the pool has seen a newer fence; its log says which), or its journal was lost.`,
  };
  if (!(await retry(manager, job, error))) await finish(manager, job, { state: 'failed', error });
  return true;
}

async function timesSent(manager: EntityManager, job: Job): Promise<number> {
  const [row] = await manager.query<{ tries: number | null }[]>(
    "SELECT MAX(tries) AS tries FROM outbox WHERE job_id = ? AND attempt = ? AND type = 'run'",
    [job.id, job.attempt],
  );
  return row?.tries ?? 0;
}

/** For how long the job has been in its state, ms. */
export async function settledFor(manager: EntityManager, jobId: string): Promise<number> {
  const [row] = await manager.query<{ ms: string | number | null }[]>(
    `SELECT TIMESTAMPDIFF(MICROSECOND, MAX(at), ${NOW}) / 1000 AS ms FROM job_transitions
     WHERE job_id = ? AND (from_state IS NULL OR from_state <> to_state)`,
    [jobId],
  );
  return Number(row?.ms ?? 0);
}
