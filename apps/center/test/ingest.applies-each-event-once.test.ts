import { type DataSource, inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { applyEvent } from '../src/ingest/apply-event.ts';
import { writeProgress } from '../src/ingest/job-progress.ts';
import { cancelJob } from '../src/jobs/cancel-job.ts';
import { MOST_ATTEMPTS } from '../src/jobs/retry-attempt.ts';
import { prepare } from '../src/rpc/prepare.ts';
import { count, type OwnDatabase, ownDatabase, readJob, SIZE, startUpload } from './support/database.ts';
import { event, PROGRESS, uploaded } from './support/events.ts';

describe('ingest of events', () => {
  let own: OwnDatabase | null = null;
  let database: DataSource;

  before(async function () {
    own = await ownDatabase();
    if (own === null) return this.skip();
    database = own.database;
  });
  after(() => own?.drop());

  const ingest = (...args: Parameters<typeof event>) => inTransaction(database, (manager) => applyEvent(manager, event(...args)));
  const ask = async (jobId: string, attempt = 1, node = 'n1') => {
    const [row] = await database.query<{ fence: string }[]>('SELECT fence FROM job_attempts WHERE job_id = ? AND attempt = ?', [
      jobId,
      attempt,
    ]);
    return prepare({ database }, { job_id: jobId, attempt, fence: Number(row?.fence), result: uploaded('x') }, node);
  };
  const pool = async (id: string) => {
    const [row] = await database.query<Record<string, string | number>[]>('SELECT * FROM pools WHERE id = ?', [id]);
    return { stored: Number(row?.stored_bytes), logical: Number(row?.logical_bytes), blocks: Number(row?.block_count) };
  };

  it('takes a job from accepted to succeeded, and the replica and the pool with it', async () => {
    const { jobId, blockId, to } = await startUpload(database);
    expect(await ingest(jobId, 1, 1, 'accepted')).to.equal('applied');
    expect(await count(database, "outbox WHERE job_id = ? AND status = 'pending'", [jobId])).to.equal(0);
    await ingest(jobId, 1, 2, 'running');
    await ingest(jobId, 1, 3, 'checkpoint');
    expect(await readJob(database, jobId)).to.include({ state: 'running', bytes_done: 4_000_000, bytes_sent: 3_000_000 });
    await ingest(jobId, 1, 4, 'preparing');
    expect((await ask(jobId)).granted).to.equal(true);
    expect((await ask(jobId)).granted, 'asked again').to.equal(true);
    expect((await readJob(database, jobId)).state).to.equal('committing');
    await ingest(jobId, 1, 5, 'succeeded', uploaded(to));
    expect(await readJob(database, jobId)).to.include({ state: 'succeeded', bytes_done: SIZE });
    expect(await count(database, "replicas WHERE block_id = ? AND state = 'available'", [blockId])).to.equal(2);
    expect(await pool(to)).to.deep.equal({ stored: 7000, logical: SIZE, blocks: 1 });
    expect(await count(database, 'claims WHERE job_id = ?', [jobId])).to.equal(0);
  });

  it('counts an event that comes twice once, also at the same moment', async () => {
    const { jobId, to } = await startUpload(database);
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => ingest(jobId, 1, 5, 'succeeded', uploaded(to))));
    expect(outcomes.toSorted()).to.deep.equal(['applied', 'duplicate', 'duplicate', 'duplicate']);
    expect((await pool(to)).blocks).to.equal(1);
  });

  it('a checkpoint while it prepares does not take it back to running', async () => {
    const { jobId } = await startUpload(database);
    await ingest(jobId, 1, 1, 'preparing');
    expect(await ingest(jobId, 1, 2, 'checkpoint')).to.equal('applied');
    expect((await readJob(database, jobId)).state).to.equal('preparing');
  });

  it('keeps the newest state when events overtake each other', async () => {
    const { jobId } = await startUpload(database);
    await ingest(jobId, 1, 3, 'preparing');
    expect(await ingest(jobId, 1, 1, 'accepted')).to.equal('recorded');
    expect(await ingest(jobId, 1, 2, 'running')).to.equal('recorded');
    expect((await readJob(database, jobId)).state).to.equal('preparing');
  });

  it('tries a transient failure again as a new attempt, with a larger fence, and hears the old one no more', async () => {
    const { jobId, to } = await startUpload(database);
    const before = await readJob(database, jobId);
    await ingest(jobId, 1, 1, 'running');
    await ingest(jobId, 1, 2, 'checkpoint');
    await ingest(jobId, 1, 3, 'failed');
    const after = await readJob(database, jobId);
    expect(after).to.include({ state: 'queued', attempt: 2, event_seq: 0 });
    expect(after.fence).to.be.greaterThan(before.fence);
    expect(
      await count(database, "outbox WHERE job_id = ? AND attempt = 2 AND status = 'pending' AND next_at > UTC_TIMESTAMP(3)", [
        jobId,
      ]),
    ).to.equal(1);
    expect(await ingest(jobId, 1, 4, 'succeeded', uploaded(to))).to.equal('recorded');
    expect((await ask(jobId, 1)).granted, 'the old attempt asks to commit').to.equal(false);
    expect((await ask(jobId, 2, 'n2')).granted, 'another node asks').to.equal(false);
    expect((await readJob(database, jobId)).state).to.equal('queued');
    await ingest(jobId, 2, 1, 'running');
    await writeProgress(database, [{ ...PROGRESS, job_id: jobId, attempt: 2 }]);
    expect((await readJob(database, jobId)).bytes_sent, 'both attempts sent').to.equal(6_000_000);
    await writeProgress(database, [{ ...PROGRESS, bytes_done: 1, job_id: jobId, attempt: 1 }]);
    expect((await readJob(database, jobId)).bytes_done, 'progress of the old attempt').to.equal(4_000_000);
  });

  it(`fails for good after ${MOST_ATTEMPTS} attempts, with the last error, and nothing half-made is left`, async () => {
    const { jobId, blockId, to } = await startUpload(database);
    for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt++) await ingest(jobId, attempt, 1, 'failed');
    expect(await readJob(database, jobId)).to.include({ state: 'failed', attempt: MOST_ATTEMPTS, error_code: 'unreachable' });
    expect(await count(database, 'replicas WHERE block_id = ? AND pool_id = ?', [blockId, to])).to.equal(0);
    expect(await count(database, "blocks WHERE id = ? AND state = 'available'", [blockId])).to.equal(1);
    expect(await ingest(jobId, MOST_ATTEMPTS, 2, 'succeeded', uploaded(to)), 'an end is an end').to.equal('recorded');
  });

  it('a cancel that comes after the grant is refused; a prepare that comes after the cancel is refused', async () => {
    const granted = await startUpload(database);
    await ingest(granted.jobId, 1, 1, 'running');
    await ask(granted.jobId);
    const late = await inTransaction(database, (m) => cancelJob(m, granted.jobId, 'late')).catch((e: { code: string }) => e.code);
    expect(late).to.equal('job_not_cancellable');

    const cancelled = await startUpload(database);
    await ingest(cancelled.jobId, 1, 1, 'running');
    await inTransaction(database, (manager) => cancelJob(manager, cancelled.jobId, 'in time'));
    expect((await readJob(database, cancelled.jobId)).state).to.equal('cancelling');
    expect((await ask(cancelled.jobId)).granted).to.equal(false);
    expect(
      await count(database, "outbox WHERE job_id = ? AND type = 'cancel' AND status = 'pending'", [cancelled.jobId]),
    ).to.equal(1);
    await ingest(cancelled.jobId, 1, 2, 'cancelled');
    expect((await readJob(database, cancelled.jobId)).state).to.equal('cancelled');
  });

  it('of a cancel and a prepare at the same moment exactly one wins', async () => {
    for (let i = 0; i < 10; i++) {
      const { jobId } = await startUpload(database);
      await ingest(jobId, 1, 1, 'running');
      const [cancel, reply] = await Promise.all([
        inTransaction(database, (manager) => cancelJob(manager, jobId, 'race')).then(
          () => true,
          () => false,
        ),
        ask(jobId),
      ]);
      expect(cancel).to.equal(!reply.granted);
      expect((await readJob(database, jobId)).state).to.equal(cancel ? 'cancelling' : 'committing');
    }
  });
});
