/**
 * As `transition.ts`, for many jobs in a few statements: where thousands of jobs pass, the round trips to the database are what they wait for.
 * Without notes; what an end means beside the state is `finish-many.ts`.
 */
import { isTerminal, JOB_STATE_RULES, type JobState } from '@openservice/domain';
import type { EntityManager, Job } from '@openservice/store';
import { fromNow, NOW } from './clock.ts';

/** What is read of each job, under its row's lock. */
export type Locked = Pick<Job, 'id' | 'kind' | 'state' | 'attempt' | 'event_seq' | 'node_id' | 'block_id' | 'pause_wanted'>;

/** The steps of one job, in order; none: it stays where it is. */
export interface Moves {
  job: Locked;
  steps: readonly { from: JobState; to: JobState }[];
}

/** The jobs of `ids` that nobody else has locked, by id, locked until the transaction ends. */
export async function lockJobs(manager: EntityManager, ids: readonly string[], where = ''): Promise<Map<string, Locked>> {
  const rows = await manager.query<(Omit<Locked, 'pause_wanted'> & { pause_wanted: number })[]>(
    `SELECT id, kind, state, attempt, event_seq, node_id, block_id, pause_wanted FROM jobs FORCE INDEX (PRIMARY)
     WHERE id IN (${marks(ids.length)}) ${where} ORDER BY id FOR UPDATE SKIP LOCKED`,
    [...ids],
  );
  return new Map(rows.map((row) => [row.id, { ...row, pause_wanted: Number(row.pause_wanted) === 1 }]));
}

/** Writes the steps; the rows are locked, and each `from` is where its job is then. */
export async function moveMany(manager: EntityManager, moves: readonly Moves[]): Promise<void> {
  const steps = moves.flatMap(({ job, steps }) => steps.map((step) => ({ job, ...step })));
  if (steps.length === 0) return;
  await manager.query(
    `INSERT INTO job_transitions (job_id, attempt, from_state, to_state, note, at)
     VALUES ${steps.map(() => `(?, ?, ?, ?, NULL, ${NOW})`).join(', ')}`,
    steps.flatMap(({ job, from, to }) => [job.id, job.attempt, from, to]),
  );
  // As recordJobEvent does for one.
  await manager.query(
    `INSERT INTO events (type, job_id, block_id, node_id, data, at)
     VALUES ${steps.map(() => `(?, ?, ?, ?, ?, ${NOW})`).join(', ')}`,
    steps.flatMap(({ job, from, to }) => [
      `job.${to}`,
      job.id,
      job.block_id,
      job.node_id,
      JSON.stringify({ kind: job.kind, state: to, from_state: from, attempt: job.attempt, note: null }),
    ]),
  );
  await updateStates(manager, moves);
}

async function updateStates(manager: EntityManager, moves: readonly Moves[]): Promise<void> {
  const groups = new Map<string, { to: JobState; ran: boolean; ids: string[] }>();
  for (const { job, steps } of moves) {
    const to = steps.at(-1)?.to;
    if (to === undefined) continue;
    const ran = steps.some((step) => step.to === 'running');
    const group = groups.get(`${to} ${ran}`) ?? { to, ran, ids: [] };
    group.ids.push(job.id);
    groups.set(`${to} ${ran}`, group);
  }
  for (const { to, ran, ids } of groups.values()) {
    const { deadlineMs } = JOB_STATE_RULES[to];
    await manager.query(
      `UPDATE jobs SET state = ?, next_attempt_at = NULL, deadline_at = ${deadlineMs === null ? 'NULL' : fromNow(deadlineMs)}
       ${ran ? `, started_at = COALESCE(started_at, ${NOW})` : ''}${isTerminal(to) ? `, finished_at = ${NOW}` : ''}
       WHERE id IN (${marks(ids.length)})`,
      [to, ...ids],
    );
  }
}

/** The relay has sent these: each that is still queued at that attempt is dispatched. One that somebody has in hand stays queued until its node speaks. */
export async function dispatched(manager: EntityManager, sent: readonly { job_id: string; attempt: number }[]): Promise<void> {
  if (sent.length === 0) return;
  const attempts = new Map(sent.map((one) => [one.job_id, one.attempt]));
  const queued = await lockJobs(manager, [...attempts.keys()], "AND state = 'queued'");
  const moved = [...queued.values()].filter(({ id, attempt }) => attempts.get(id) === attempt);
  await moveMany(
    manager,
    moved.map((job) => ({ job, steps: [{ from: 'queued', to: 'dispatched' }] })),
  );
}

export const marks = (count: number): string => Array.from({ length: count }, () => '?').join(', ');
