import { isTerminal, JOB_STATE_RULES, JOB_STATES, type JobState } from '@openservice/domain';
import { type DataSource, inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { applyEvent } from '../src/ingest/apply-event.ts';
import { cancelJob } from '../src/jobs/cancel-job.ts';
import { pauseJob, resumeJob } from '../src/jobs/pause-job.ts';
import { actOnOverdue } from '../src/reconcile/overdue.ts';
import { prepare } from '../src/rpc/prepare.ts';
import { count, type OwnDatabase, ownDatabase, readJob, startUpload } from './support/database.ts';
import { event, uploaded } from './support/events.ts';
import { relayAll } from './support/relayed.ts';

/** What must be seen of a job that is overdue in that state while its node is there: a command that is due, or a sync that is wanted. */
const ACTS: Partial<Record<JobState, 'run' | 'cancel' | 'resume' | 'sync'>> = {
  queued: 'run',
  dispatched: 'run',
  accepted: 'sync',
  running: 'sync',
  paused: 'resume',
  preparing: 'sync',
  committing: 'sync',
  cancelling: 'cancel',
};

describe('every state of a job', function () {
  this.timeout(30_000);
  let own: OwnDatabase | null = null;
  let database: DataSource;

  before(async function () {
    own = await ownDatabase();
    if (own === null) return this.skip();
    database = own.database;
    await database.query(
      `INSERT INTO nodes (id, name, state, epoch, version, kinds, import_roots, last_seen_at, created_at)
       VALUES ('n1', 'n1', 'online', 1, '1', '[]', '[]', UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))`,
    );
  });
  after(() => own?.drop());

  /** Brings a new job there as it comes there in life. */
  async function jobIn(state: JobState): Promise<string> {
    const { jobId, to } = await startUpload(database);
    const tell = (seq: number, ...rest: [Parameters<typeof event>[3], unknown?]) =>
      inTransaction(database, (manager) => applyEvent(manager, event(jobId, 1, seq, ...rest)));
    if (state === 'queued') return jobId;
    await relayAll(database);
    if (state === 'dispatched') return jobId;
    await tell(1, 'accepted');
    if (state === 'accepted') return jobId;
    await tell(2, 'running');
    if (state === 'running') return jobId;
    if (state === 'paused') {
      await inTransaction(database, (manager) => pauseJob(manager, jobId, 'a test'));
      await tell(3, 'paused');
      await inTransaction(database, (manager) => resumeJob(manager, jobId, 'a test'));
      await relayAll(database);
      return jobId;
    }
    if (state === 'cancelling' || state === 'cancelled') {
      await inTransaction(database, (manager) => cancelJob(manager, jobId, 'a test'));
      await relayAll(database);
      if (state === 'cancelled') await tell(3, 'cancelled');
      return jobId;
    }
    if (state === 'failed') {
      await tell(3, 'failed', { error: { code: 'x', message: 'X.' }, transient: false, progress: null });
      return jobId;
    }
    await tell(3, 'preparing');
    if (state === 'preparing') return jobId;
    const { fence } = await readJob(database, jobId);
    await prepare({ database }, { job_id: jobId, attempt: 1, fence, result: uploaded(to) }, 'n1');
    if (state === 'succeeded') await tell(4, 'succeeded', uploaded(to));
    return jobId;
  }

  const seen = {
    sync: () => count(database, 'nodes WHERE sync_wanted = 1'),
    command: (jobId: string, type: string) =>
      count(database, "outbox WHERE job_id = ? AND type = ? AND status = 'pending' AND next_at <= UTC_TIMESTAMP(3)", [
        jobId,
        type,
      ]),
  };

  for (const state of JOB_STATES) {
    if (isTerminal(state)) {
      it(`${state} is an end: no deadline, no owner, no command, no claim`, async () => {
        const jobId = await jobIn(state);
        expect((await readJob(database, jobId)).state).to.equal(state);
        expect(JOB_STATE_RULES[state]).to.include({ owner: null, deadlineMs: null });
        expect(await count(database, 'jobs WHERE id = ? AND deadline_at IS NULL AND finished_at IS NOT NULL', [jobId])).to.equal(
          1,
        );
        expect(await count(database, "outbox WHERE job_id = ? AND status <> 'done'", [jobId])).to.equal(0);
        expect(await count(database, 'claims WHERE job_id = ?', [jobId])).to.equal(0);
      });
      continue;
    }
    it(`${state} has a deadline and an owner, and past it somebody acts (${ACTS[state]})`, async () => {
      const rule = JOB_STATE_RULES[state];
      expect(rule.owner).to.be.a('string');
      expect(rule.deadlineMs).to.be.greaterThan(0);
      const jobId = await jobIn(state);
      expect((await readJob(database, jobId)).state).to.equal(state);
      expect(await count(database, 'jobs WHERE id = ? AND deadline_at > UTC_TIMESTAMP(3)', [jobId]), 'a deadline').to.equal(1);
      await database.query('UPDATE nodes SET sync_wanted = 0, last_seen_at = UTC_TIMESTAMP(3)');
      await database.query('UPDATE outbox SET next_at = next_at + INTERVAL 1 HOUR');
      await database.query('UPDATE jobs SET deadline_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND WHERE id = ?', [jobId]);
      await actOnOverdue(database);
      const act = ACTS[state];
      if (act === undefined) throw new Error(`Nobody has said who acts on a job that is ${state}.`);
      expect(act === 'sync' ? await seen.sync() : await seen.command(jobId, act)).to.equal(1);
      expect((await readJob(database, jobId)).state, 'it ends on its node’s word alone').to.equal(state);
      expect(await count(database, 'jobs WHERE id = ? AND deadline_at > UTC_TIMESTAMP(3)', [jobId]), 'a new deadline').to.equal(
        1,
      );
    });
  }
});
