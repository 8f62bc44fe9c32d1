import { type DataSource, inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { applyEvent } from '../src/ingest/apply-event.ts';
import { cancelJob } from '../src/jobs/cancel-job.ts';
import { Reconcile } from '../src/reconcile/reconcile.ts';
import { count, type OwnDatabase, ownDatabase, readJob, startUpload } from './support/database.ts';
import { event } from './support/events.ts';
import { type OwnNats, ownNats } from './support/nats.ts';
import { silent, startCenter, type TestCenter } from './support/plane.ts';
import { StandInNode } from './support/stand-in-node.ts';

describe('sync and reconcile', function () {
  this.timeout(30_000);
  let own: OwnDatabase | null = null;
  let nats: OwnNats | null = null;
  let database: DataSource;
  let center: TestCenter;
  let reconcile: Reconcile;
  let node: StandInNode;

  before(async function () {
    own = await ownDatabase();
    nats = own === null ? null : await ownNats();
    if (own === null || nats === null) return this.skip();
    database = own.database;
    center = await startCenter(database, nats.url);
    // The relay would publish; here only rows are looked at.
    await center.relay.stop();
    const nodes = { call: () => Promise.reject(new Error('No node is asked here.')) };
    reconcile = new Reconcile({ database, log: silent }, { poke: () => undefined, nodes });
    node = await StandInNode.connect('n1', nats.url);
    node.epoch = 100;
    await node.sync();
  });
  after(async () => {
    await node?.stop();
    await center?.stop();
    await nats?.stop();
    await own?.drop();
  });

  const ingest = (...args: Parameters<typeof event>) => inTransaction(database, (manager) => applyEvent(manager, event(...args)));
  const settle = (jobId: string) =>
    database.query('UPDATE job_transitions SET at = at - INTERVAL 1 HOUR WHERE job_id = ?', [jobId]);
  const overdue = (jobId: string) =>
    database.query('UPDATE jobs SET deadline_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND WHERE id = ?', [jobId]);
  const nodeSeen = (secondsAgo: number) =>
    database.query("UPDATE nodes SET last_seen_at = UTC_TIMESTAMP(3) - INTERVAL ? SECOND WHERE id = 'n1'", [secondsAgo]);
  const pendingRuns = (jobId: string) =>
    count(database, "outbox WHERE job_id = ? AND type = 'run' AND status = 'pending' AND next_at <= UTC_TIMESTAMP(3)", [jobId]);

  it('an older process of the node is refused', async () => {
    node.epoch = 99;
    expect((await node.sync().catch((error: { code: string }) => error)) as object).to.include({ code: 'stale_epoch' });
    expect((await node.heartbeat().catch((error: { code: string }) => error)) as object).to.include({ code: 'stale_epoch' });
    node.epoch = 100;
    expect((await node.heartbeat()).sync).to.equal(false);
  });

  it('says continue, abort, resend and forget', async () => {
    const running = (await startUpload(database)).jobId;
    await ingest(running, 1, 1, 'running');
    const old = (await startUpload(database)).jobId;
    await ingest(old, 1, 1, 'failed');
    const ended = (await startUpload(database)).jobId;
    const failed = { error: { code: 'wrong_key', message: 'No.' }, transient: false, progress: null };
    await ingest(ended, 1, 1, 'failed', failed);
    const untold = (await startUpload(database)).jobId;
    await ingest(untold, 1, 1, 'running');
    await database.query('UPDATE jobs SET deadline_at = UTC_TIMESTAMP(3) WHERE id = ?', [running]);
    const { answers } = await node.sync([
      { job_id: running, attempt: 1, state: 'running' },
      { job_id: old, attempt: 1, state: 'running' },
      { job_id: ended, attempt: 1, state: 'finished' },
      { job_id: untold, attempt: 1, state: 'finished' },
      { job_id: 'job-unknown', attempt: 1, state: 'accepted' },
    ]);
    expect(answers.map((answer) => answer.verdict)).to.deep.equal(['continue', 'abort', 'forget', 'resend', 'abort']);
    expect(await count(database, 'jobs WHERE id = ? AND deadline_at > UTC_TIMESTAMP(3) + INTERVAL 1 MINUTE', [running])).to.equal(
      1,
    );
  });

  it('sends a command again that the node never took', async () => {
    const { jobId } = await startUpload(database);
    await database.query("UPDATE jobs SET state = 'dispatched' WHERE id = ?", [jobId]);
    await database.query('UPDATE outbox SET next_at = next_at + INTERVAL 1 HOUR WHERE job_id = ?', [jobId]);
    await node.sync();
    expect(await pendingRuns(jobId), 'it may be on its way').to.equal(0);
    await settle(jobId);
    await node.sync();
    expect(await pendingRuns(jobId)).to.equal(1);
    expect((await readJob(database, jobId)).attempt).to.equal(1);
  });

  it('gives a new attempt to a job whose node is there and never takes its command', async () => {
    const { jobId } = await startUpload(database);
    await database.query("UPDATE jobs SET state = 'dispatched' WHERE id = ?", [jobId]);
    await database.query('UPDATE outbox SET tries = 3 WHERE job_id = ?', [jobId]);
    await settle(jobId);
    await node.sync();
    expect(await readJob(database, jobId)).to.include({ state: 'queued', attempt: 2 });
    expect(await count(database, 'jobs WHERE id = ? AND failures = 0', [jobId])).to.equal(1);
    expect(await pendingRuns(jobId), 'of the new one alone').to.equal(1);
  });

  it('gives a new attempt to a job whose node lost its journal', async () => {
    const { jobId } = await startUpload(database);
    await ingest(jobId, 1, 1, 'running');
    await settle(jobId);
    await node.sync();
    expect(await readJob(database, jobId)).to.include({ state: 'queued', attempt: 2 });
  });

  it('an overdue command is due again, an overdue run makes the node sync, and the history says why', async () => {
    const [queued, running] = [(await startUpload(database)).jobId, (await startUpload(database)).jobId];
    await ingest(running, 1, 1, 'running');
    await database.query('UPDATE outbox SET next_at = next_at + INTERVAL 1 HOUR WHERE job_id = ?', [queued]);
    await Promise.all([overdue(queued), overdue(running)]);
    await reconcile.pass();
    expect(await pendingRuns(queued)).to.equal(1);
    expect((await node.heartbeat()).sync).to.equal(true);
    for (const id of [queued, running]) {
      expect(await count(database, 'job_transitions WHERE job_id = ? AND note IS NOT NULL', [id])).to.equal(1);
      expect(await count(database, 'jobs WHERE id = ? AND deadline_at > UTC_TIMESTAMP(3)', [id])).to.equal(1);
      await overdue(id);
    }
    await reconcile.pass();
    expect(await count(database, 'job_transitions WHERE job_id = ? AND note IS NOT NULL', [running]), 'noted once').to.equal(1);
  });

  it('a silent node is suspect, then offline; a heartbeat gives it no lease, and a sync has it online', async () => {
    const state = async () => (await database.query<{ state: string }[]>("SELECT state FROM nodes WHERE id = 'n1'"))[0]?.state;
    await nodeSeen(40);
    await reconcile.pass();
    expect(await state()).to.equal('suspect');
    await nodeSeen(70);
    await reconcile.pass();
    expect(await state()).to.equal('offline');
    expect(await node.heartbeat()).to.deep.equal({ lease_ms: 1, sync: true });
    expect(await state()).to.equal('offline');
    expect((await node.sync()).lease_ms).to.equal(30_000);
    expect(await state()).to.equal('online');
    await nodeSeen(20);
    expect(await node.heartbeat(), 'it has its lease yet').to.deep.equal({ lease_ms: 30_000, sync: false });
    await nodeSeen(31);
    expect(await node.heartbeat(), 'it has not, though nobody has noticed').to.deep.equal({ lease_ms: 1, sync: true });
    await node.sync();
  });

  it('a cancelled job of a node that is gone ends once its lease has surely ended', async () => {
    const { jobId, blockId, to } = await startUpload(database);
    await ingest(jobId, 1, 1, 'running');
    await inTransaction(database, (manager) => cancelJob(manager, jobId, 'A person asked.'));
    await nodeSeen(40);
    await overdue(jobId);
    await reconcile.pass();
    expect((await readJob(database, jobId)).state, 'its lease may still run').to.equal('cancelling');
    await nodeSeen(70);
    await overdue(jobId);
    await reconcile.pass();
    expect((await readJob(database, jobId)).state).to.equal('cancelled');
    expect(await count(database, 'replicas WHERE block_id = ? AND pool_id = ?', [blockId, to])).to.equal(0);
  });

  it('a job that waits for a node long gone is not forgotten: it says so', async () => {
    const { jobId } = await startUpload(database);
    await ingest(jobId, 1, 1, 'running');
    await nodeSeen(700);
    await overdue(jobId);
    await reconcile.pass();
    expect((await readJob(database, jobId)).state).to.equal('running');
    const [last] = await database.query<{ note: string }[]>(
      'SELECT note FROM job_transitions WHERE job_id = ? ORDER BY id DESC',
      [jobId],
    );
    expect(last?.note).to.include('more than ten minutes');
  });
});
