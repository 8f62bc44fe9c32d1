import type { JobEvent, JobEventType } from '@openservice/protocol';
import { type DataSource, inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { applyEvent } from '../src/ingest/apply-event.ts';
import { applyMany, isSimple } from '../src/ingest/apply-many.ts';
import { cancelJob } from '../src/jobs/cancel-job.ts';
import { pauseJob } from '../src/jobs/pause-job.ts';
import { lockJob } from '../src/jobs/transition.ts';
import { count, type OwnDatabase, ownDatabase, readJob, startUpload, type Upload } from './support/database.ts';
import { event, uploaded } from './support/events.ts';
import { relayAll } from './support/relayed.ts';

/** The same numbers for the same seed. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * sides);
  };
}

/** What nodes say in some order, with repeats, gaps and words of an old attempt; the last may be an end. */
function story(roll: (sides: number) => number): { seq: number; type: JobEventType; attempt: number }[] {
  const types: JobEventType[] = ['accepted', 'running', 'checkpoint', 'checkpoint', 'preparing'];
  const told = types.map((type, i) => ({ seq: i + 1, type, attempt: 1 })).filter(() => roll(5) > 0);
  const end = ([null, 'succeeded', 'failed', 'cancelled', 'yielded'] as const)[roll(5)];
  if (end !== null && end !== undefined) told.push({ seq: 6, type: end, attempt: 1 });
  for (let i = 0; i < 2 && told.length > 1; i++) {
    const [from, to] = [roll(told.length), roll(told.length)];
    const one = told[from];
    if (one !== undefined) told.splice(to, 0, { ...one, attempt: roll(6) === 0 ? 2 : 1 });
  }
  return told;
}

describe('events taken many at once', function () {
  this.timeout(60_000);
  let own: OwnDatabase | null = null;
  let database: DataSource;

  before(async function () {
    own = await ownDatabase();
    if (own === null) return this.skip();
    database = own.database;
  });
  after(() => own?.drop());

  const one = (told: JobEvent) => inTransaction(database, (manager) => applyEvent(manager, told));
  /** As the ingest does with a batch. */
  async function many(batch: readonly JobEvent[]): Promise<void> {
    const behind = new Set<string>();
    const simple = batch.filter((told) => {
      if (!isSimple(told)) behind.add(told.job_id);
      return isSimple(told) && !behind.has(told.job_id);
    });
    const done = new Set<JobEvent>(
      simple.length === 0 ? [] : await inTransaction(database, (manager) => applyMany(manager, simple.filter(isSimple))),
    );
    for (const told of batch) if (!done.has(told)) await one(told);
  }

  async function traces({ jobId }: Upload): Promise<unknown> {
    const { fence, ...job } = await readJob(database, jobId);
    const rows = (sql: string) => database.query<Record<string, unknown>[]>(sql, [jobId]);
    const history = await rows('SELECT attempt, from_state, to_state, note FROM job_transitions WHERE job_id = ? ORDER BY id');
    return {
      job,
      started: await count(database, 'jobs WHERE id = ? AND started_at IS NOT NULL', [jobId]),
      due: await count(database, 'jobs WHERE id = ? AND deadline_at IS NOT NULL', [jobId]),
      inbox: await rows('SELECT attempt, seq, type, applied FROM inbox WHERE job_id = ? ORDER BY attempt, seq'),
      outbox: await rows('SELECT type, attempt, status FROM outbox WHERE job_id = ? ORDER BY id'),
      history: history.map((line) => ({
        ...line,
        note: line.note === null ? null : String(line.note).replace(/\d+ ms/, 'n ms'),
      })),
      events: await rows(
        "SELECT type, node_id, block_id IS NULL AS no_block, JSON_VALUE(data, '$.from_state') AS was, JSON_VALUE(data, '$.attempt') AS attempt FROM events WHERE job_id = ? AND type LIKE 'job.%' ORDER BY id",
      ),
    };
  }

  for (const seed of [1, 2, 3]) {
    it(`leave the same traces as one by one (seed ${seed})`, async () => {
      const roll = dice(seed);
      const twins: { alone: Upload; together: Upload; told: ReturnType<typeof story>; wish: number }[] = [];
      for (let i = 0; i < 24; i++) {
        const [alone, together] = [await startUpload(database), await startUpload(database)];
        twins.push({ alone, together, told: story(roll), wish: roll(8) });
      }
      await relayAll(database);
      for (const { alone, together, wish } of twins) {
        for (const { jobId } of [alone, together]) {
          if (wish === 0) await inTransaction(database, (manager) => cancelJob(manager, jobId, 'A person asked.'));
          if (wish === 1) await inTransaction(database, (manager) => pauseJob(manager, jobId, 'a test'));
        }
      }
      const of = (upload: Upload, { seq, type, attempt }: ReturnType<typeof story>[number]) =>
        event(upload.jobId, attempt, seq, type, type === 'succeeded' ? uploaded(upload.to) : undefined);
      const mixed: JobEvent[] = [];
      for (let k = 0; twins.some(({ told }) => k < told.length); k++) {
        for (const { together, told } of twins) {
          const next = told[k];
          if (next !== undefined) mixed.push(of(together, next));
        }
      }
      while (mixed.length > 0) await many(mixed.splice(0, 1 + roll(60)));
      for (const { alone, told } of twins) for (const next of told) await one(of(alone, next));
      for (const { alone, together } of twins) expect(await traces(together)).to.deep.equal(await traces(alone));
    });
  }

  it('a job that somebody has in hand is left, and those beside it are not held up', async () => {
    const [held, free] = [await startUpload(database), await startUpload(database)];
    const events = [held, free].map(({ jobId }) => event(jobId, 1, 1, 'accepted')).filter(isSimple);
    const done = await inTransaction(database, async (holder) => {
      await lockJob(holder, held.jobId);
      return inTransaction(database, (manager) => applyMany(manager, events));
    });
    expect(done.map(({ job_id }) => job_id)).to.deep.equal([free.jobId]);
    expect((await readJob(database, free.jobId)).state).to.equal('accepted');
    expect((await readJob(database, held.jobId)).state).to.equal('queued');
  });

  it('an event of a node that has not the job, or of a job that nobody knows, is left', async () => {
    const { jobId } = await startUpload(database);
    const events = [event(jobId, 1, 1, 'accepted', undefined, 'n2'), event('job-unknown', 1, 1, 'accepted')].filter(isSimple);
    expect(await inTransaction(database, (manager) => applyMany(manager, events))).to.deep.equal([]);
  });
});
