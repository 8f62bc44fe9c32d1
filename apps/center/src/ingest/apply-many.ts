/**
 * The events that come in masses, and mean that a job has come further or has succeeded: those of many jobs in one transaction. What is left
 * over goes one by one (`apply-event.ts`), with the same outcome; so does all of it where this fails.
 */
import { isTerminal, type JobState } from '@openservice/domain';
import type { JobEvent, JobResult, Progress } from '@openservice/protocol';
import type { EntityManager } from '@openservice/store';
import { NOW } from '../jobs/clock.ts';
import { finishMany } from '../jobs/finish-many.ts';
import { waypoint } from '../jobs/transition.ts';
import { type Locked, lockJobs, type Moves, marks, moveMany } from '../jobs/transition-many.ts';
import { type JobProgress, writeProgress } from './job-progress.ts';

export type SimpleEvent = Extract<JobEvent, { type: 'accepted' | 'running' | 'checkpoint' | 'preparing' | 'succeeded' }>;

const SIMPLE: ReadonlySet<JobEvent['type']> = new Set(['accepted', 'checkpoint', 'preparing', 'succeeded']);

/** What may be taken here as far as can be told from the event alone. */
export function isSimple(event: JobEvent): event is SimpleEvent {
  if (event.type === 'running') return !event.payload.resumed;
  return SIMPLE.has(event.type);
}

/** One job and what has become of it in this batch. */
class Course {
  readonly job: Locked;
  readonly steps: { from: JobState; to: JobState }[] = [];
  state: JobState;
  seq: number;
  progress: Progress | null = null;
  goesOn = false;
  /** It has succeeded. */
  result: JobResult | null = null;

  constructor(job: Locked) {
    this.job = job;
    this.state = job.state;
    this.seq = job.event_seq;
  }

  /** False when it is late, of another attempt, or of a job that has ended. */
  take(event: SimpleEvent): boolean {
    if (event.attempt !== this.job.attempt || event.seq <= this.seq || isTerminal(this.state)) return false;
    this.seq = event.seq;
    if (event.type === 'checkpoint') {
      this.goesOn = true;
      if (this.state === 'queued' || this.state === 'dispatched' || this.state === 'accepted') this.#go('running');
    } else if (event.type !== this.state) this.#go(event.type);
    if (event.type === 'checkpoint' || event.type === 'preparing') this.progress = event.payload;
    if (event.type === 'succeeded') {
      this.progress = event.payload.progress ?? this.progress;
      if (isTerminal(this.state)) this.result = event.payload;
    }
    return true;
  }

  #go(to: JobState): void {
    for (const state of waypoint(this.state, to) ?? []) {
      this.steps.push({ from: this.state, to: state });
      this.state = state;
    }
  }
}

interface Taken {
  event: SimpleEvent;
  applied: boolean;
}

/**
 * Applies what it can of `events` (of each job in the order of their coming) and answers those: they are in MySQL, or were before. Not taken:
 * what is of a job that others have locked, that nobody knows, that is on another node, or that is paused or is to be.
 */
export async function applyMany(manager: EntityManager, events: readonly SimpleEvent[]): Promise<SimpleEvent[]> {
  const jobs = await lockJobs(manager, [...new Set(events.map(({ job_id }) => job_id))]);
  const known = await knownOf(manager, events);
  const courses = new Map<string, Course>();
  const left = new Set<string>();
  const done: SimpleEvent[] = [];
  const taken: Taken[] = [];
  for (const event of events) {
    const job = jobs.get(event.job_id);
    if (job === undefined || !isPlain(job, event)) left.add(event.job_id);
    // What comes behind an event that is left must not overtake it.
    if (job === undefined || left.has(event.job_id)) continue;
    done.push(event);
    const name = nameOf(event);
    if (known.has(name)) continue;
    known.add(name);
    const course = courses.get(job.id) ?? new Course(job);
    courses.set(job.id, course);
    taken.push({ event, applied: course.take(event) });
  }
  await write(manager, [...courses.values()], taken);
  return done;
}

function isPlain(job: Locked, event: SimpleEvent): boolean {
  if (job.node_id !== event.node || job.pause_wanted || job.state === 'paused') return false;
  return !(event.type === 'running' && job.state === 'running');
}

const nameOf = (event: { job_id: string; attempt: number; seq: number }): string =>
  `${event.job_id}/${event.attempt}/${event.seq}`;

/** Those that are in the inbox. Under the locks of their jobs. */
async function knownOf(manager: EntityManager, events: readonly SimpleEvent[]): Promise<Set<string>> {
  const rows = await manager.query<{ job_id: string; attempt: number; seq: number }[]>(
    `SELECT job_id, attempt, seq FROM inbox WHERE (job_id, attempt, seq) IN (${events.map(() => '(?, ?, ?)').join(', ')})`,
    events.flatMap(({ job_id, attempt, seq }) => [job_id, attempt, seq]),
  );
  return new Set(rows.map(nameOf));
}

async function write(manager: EntityManager, courses: readonly Course[], taken: readonly Taken[]): Promise<void> {
  if (taken.length === 0) return;
  await manager.query(
    `INSERT INTO inbox (job_id, attempt, seq, type, applied, at) VALUES ${taken.map(() => `(?, ?, ?, ?, ?, ${NOW})`).join(', ')}`,
    taken.flatMap(({ event, applied }) => [event.job_id, event.attempt, event.seq, event.type, applied ? 1 : 0]),
  );
  const moved = courses.filter(({ job, seq }) => seq > job.event_seq);
  if (moved.length === 0) return;
  await manager.query(
    `UPDATE jobs SET event_seq = CASE id ${moved.map(() => 'WHEN ? THEN ?').join(' ')} END WHERE id IN (${marks(moved.length)})`,
    [...moved.flatMap(({ job, seq }) => [job.id, seq]), ...moved.map(({ job }) => job.id)],
  );
  // Of a job that has ended none is written any more.
  await writeProgress(manager, moved.flatMap(progressOf));
  await moveMany(manager, moved as readonly Moves[]);
  // Any event of the attempt proves that the node has its command; the first one says so for all.
  await close(
    manager,
    'run',
    moved.filter(({ job }) => job.event_seq === 0),
  );
  await close(
    manager,
    'resume',
    moved.filter(({ goesOn }) => goesOn),
  );
  await finishMany(
    manager,
    moved.flatMap(({ job, result }) => (result === null ? [] : [{ id: job.id, result }])),
  );
}

async function close(manager: EntityManager, type: 'run' | 'resume', courses: readonly Course[]): Promise<void> {
  if (courses.length === 0) return;
  await manager.query(
    `UPDATE outbox SET status = 'done' WHERE job_id IN (${marks(courses.length)}) AND status <> 'done' AND type = '${type}'`,
    courses.map(({ job }) => job.id),
  );
}

function progressOf({ job, progress }: Course): JobProgress[] {
  return progress === null ? [] : [{ ...progress, job_id: job.id, attempt: job.attempt }];
}
