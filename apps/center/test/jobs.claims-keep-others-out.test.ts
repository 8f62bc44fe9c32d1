import type { PermanentError } from '@openservice/domain';
import { type DataSource, inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { applyEvent } from '../src/ingest/apply-event.ts';
import { cancelJob } from '../src/jobs/cancel-job.ts';
import { ClaimConflictError } from '../src/jobs/claims.ts';
import { retryJob } from '../src/jobs/retry-job.ts';
import { submitJob } from '../src/jobs/submit-job.ts';
import {
  addBlock,
  addPool,
  count,
  type OwnDatabase,
  ownDatabase,
  readJob,
  startUpload,
  uploadRequest,
} from './support/database.ts';
import { event } from './support/events.ts';

describe('a job and its claims', () => {
  let own: OwnDatabase | null = null;
  let database: DataSource;

  before(async function () {
    own = await ownDatabase();
    if (own === null) return this.skip();
    database = own.database;
  });
  after(() => own?.drop());

  const refusal = (work: Promise<unknown>): Promise<PermanentError> =>
    work.then(
      () => expect.fail('it was not refused'),
      (error: unknown) => error as PermanentError,
    );

  it('begin together: job, attempt, history, command, audit', async () => {
    const { jobId } = await startUpload(database);
    const job = await readJob(database, jobId);
    expect(job).to.include({ state: 'queued', attempt: 1 });
    expect(job.fence).to.be.greaterThan(0);
    expect(await count(database, 'claims WHERE job_id = ?', [jobId])).to.equal(3);
    expect(await count(database, "outbox WHERE job_id = ? AND status = 'pending'", [jobId])).to.equal(1);
    expect(await count(database, 'audit WHERE resource = ?', [jobId])).to.equal(1);
    expect(await count(database, 'job_transitions WHERE job_id = ?', [jobId])).to.equal(1);
  });

  it('refuse a second job on the block, and name the first', async () => {
    const { jobId, blockId, from, to } = await startUpload(database);
    const work = inTransaction(database, (manager) => submitJob(manager, uploadRequest(blockId, from, to)));
    const error = await refusal(work);
    expect(error).to.be.instanceOf(ClaimConflictError);
    expect(error.code).to.equal('block_busy');
    expect(error.message).to.include(jobId).and.include('upload').and.include('queued');
  });

  it('let exactly one of thirty through, and every one of thirty on blocks of their own', async () => {
    const [from, to] = [await addPool(database), await addPool(database)];
    const blockId = await addBlock(database, from);
    const same = await Promise.allSettled(
      Array.from({ length: 30 }, () =>
        inTransaction(database, (manager) => submitJob(manager, uploadRequest(blockId, from, to))),
      ),
    );
    expect(same.filter((one) => one.status === 'fulfilled')).to.have.length(1);
    for (const one of same) if (one.status === 'rejected') expect(one.reason).to.be.instanceOf(ClaimConflictError);

    const blocks = await Promise.all(Array.from({ length: 30 }, () => addBlock(database, from)));
    await Promise.all(
      blocks.map((id, i) =>
        inTransaction(database, (manager) =>
          submitJob(manager, i % 2 === 0 ? uploadRequest(id, from, to) : uploadRequest(id, to, from)),
        ),
      ),
    );
  });

  it('are released when it is cancelled before its command left', async () => {
    const { jobId, blockId, to } = await startUpload(database);
    await inTransaction(database, (manager) => cancelJob(manager, jobId, 'A test asked.'));
    expect(await readJob(database, jobId)).to.include({ state: 'cancelled', error_code: 'cancelled' });
    expect(await count(database, 'claims WHERE job_id = ?', [jobId])).to.equal(0);
    expect(await count(database, "outbox WHERE job_id = ? AND status = 'pending'", [jobId])).to.equal(0);
    expect(await count(database, 'replicas WHERE block_id = ? AND pool_id = ?', [blockId, to])).to.equal(0);
  });

  it('are kept when it is cancelled while it waits to be tried again: its node cleans up what the first attempt left', async () => {
    const { jobId } = await startUpload(database);
    const failed = { error: { code: 'unreachable', message: 'The store is away.' }, transient: true, progress: null };
    await inTransaction(database, (manager) => applyEvent(manager, event(jobId, 1, 1, 'failed', failed)));
    expect(await readJob(database, jobId)).to.include({ state: 'queued', attempt: 2 });
    await inTransaction(database, (manager) => cancelJob(manager, jobId, 'A test asked.'));
    expect((await readJob(database, jobId)).state).to.equal('cancelling');
    expect(await count(database, 'claims WHERE job_id = ?', [jobId])).to.be.greaterThan(0);
    const commands = "outbox WHERE job_id = ? AND attempt = 2 AND status <> 'done'";
    expect(await count(database, `${commands} AND type = 'cancel'`, [jobId])).to.equal(1);
    expect(await count(database, `${commands} AND type = 'run'`, [jobId])).to.equal(0);
    await inTransaction(database, (manager) => applyEvent(manager, event(jobId, 2, 1, 'cancelled', { progress: null })));
    expect((await readJob(database, jobId)).state).to.equal('cancelled');
    expect(await count(database, 'claims WHERE job_id = ?', [jobId])).to.equal(0);
  });

  it('a failed job is retried as a new job; a running one is not', async () => {
    const { jobId, blockId, to } = await startUpload(database);
    const early = await refusal(inTransaction(database, (manager) => retryJob(manager, jobId)));
    expect(early.code).to.equal('job_not_retryable');
    const failed = { error: { code: 'wrong_key', message: 'The key is wrong.' }, transient: false, progress: null };
    await inTransaction(database, (manager) => applyEvent(manager, event(jobId, 1, 1, 'failed', failed)));
    expect((await readJob(database, jobId)).state).to.equal('failed');
    const next = await inTransaction(database, (manager) => retryJob(manager, jobId));
    expect(next.jobId).not.to.equal(jobId);
    expect((await readJob(database, next.jobId)).state).to.equal('queued');
    expect(
      await count(database, 'replicas WHERE block_id = ? AND pool_id = ? AND job_id = ?', [blockId, to, next.jobId]),
    ).to.equal(1);
    expect((await readJob(database, next.jobId)).fence).to.be.greaterThan((await readJob(database, jobId)).fence);
    const twice = await refusal(inTransaction(database, (manager) => retryJob(manager, jobId)));
    expect(twice.code).to.equal('block_busy');
  });

  it('an ended job cannot be cancelled', async () => {
    const { jobId } = await startUpload(database);
    const failed = { error: { code: 'wrong_key', message: 'The key is wrong.' }, transient: false, progress: null };
    await inTransaction(database, (manager) => applyEvent(manager, event(jobId, 1, 1, 'failed', failed)));
    const error = await refusal(inTransaction(database, (manager) => cancelJob(manager, jobId, 'too late')));
    expect(error.code).to.equal('job_not_cancellable');
    expect((await refusal(inTransaction(database, (manager) => cancelJob(manager, 'job-none', '')))).code).to.equal(
      'job_not_found',
    );
  });
});
