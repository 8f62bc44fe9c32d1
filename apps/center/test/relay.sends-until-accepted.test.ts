import { CMD_STREAM, EVT_STREAM, evtSubject } from '@openservice/protocol';
import { type DataSource, inTransaction, openDatabase } from '@openservice/store';
import { expect } from 'chai';
import { cancelJob } from '../src/jobs/cancel-job.ts';
import { count, type OwnDatabase, ownDatabase, readJob, startUpload } from './support/database.ts';
import { event, uploaded } from './support/events.ts';
import { type OwnNats, ownNats } from './support/nats.ts';
import { Cuttable, startCenter, type TestCenter } from './support/plane.ts';
import { StandInNode } from './support/stand-in-node.ts';
import { until } from './support/until.ts';

describe('commands and events between two centers and a stand-in node', function () {
  this.timeout(60_000);
  let own: OwnDatabase | null = null;
  let nats: OwnNats | null = null;
  let way: Cuttable;
  let database: DataSource;
  let behindWay: DataSource;
  const centers: TestCenter[] = [];
  let node: StandInNode;

  before(async function () {
    own = await ownDatabase();
    nats = own === null ? null : await ownNats();
    if (own === null || nats === null) return this.skip();
    database = own.database;
    way = new Cuttable(own.url);
    behindWay = await openDatabase(await way.open(), { connections: 8 });
    // Both centers reach MySQL over the way that can be cut; the test itself does not.
    centers.push(await startCenter(behindWay, nats.url), await startCenter(behindWay, nats.url));
    node = await StandInNode.connect('n1', nats.url);
    await node.start();
  });
  after(async () => {
    await node?.stop();
    for (const center of centers) await center.stop();
    await behindWay?.destroy();
    await way?.cut();
    await nats?.stop();
    await own?.drop();
  });
  beforeEach(() => {
    if (node === undefined) return;
    node.commands.length = 0;
    node.onCommand = async () => undefined;
  });

  const stateOf = async (jobId: string) => (await readJob(database, jobId)).state;
  const commandsOf = (jobId: string) => node.commands.filter((one) => one.command.job_id === jobId);
  const accept = async (command: { job_id: string; attempt: number }) => {
    await node.send(command.job_id, command.attempt, 1, 'accepted');
  };

  it('a command leaves within milliseconds of the commit, and is done once the node accepted it', async () => {
    node.onCommand = accept;
    const took: number[] = [];
    for (let i = 0; i < 15; i++) {
      const { jobId } = await startUpload(database);
      const committed = performance.now();
      centers[0]?.relay.poke();
      const came = await until('the command', async () => commandsOf(jobId)[0]);
      took.push(came.at - committed);
      await until('accepted', async () => (await stateOf(jobId)) === 'accepted');
      expect(await count(database, "outbox WHERE job_id = ? AND status = 'pending'", [jobId])).to.equal(0);
      expect(came.command.type).to.equal('run');
    }
    const median = took.toSorted((a, b) => a - b)[7] ?? 0;
    console.log(`    commit to command: median ${median.toFixed(1)} ms`);
    expect(median, 'far more than a few ms').to.be.lessThan(250);
  });

  it('two relays send each of sixty commands once', async () => {
    node.onCommand = accept;
    const jobs = await Promise.all(Array.from({ length: 60 }, () => startUpload(database)));
    for (const center of centers) center.relay.poke();
    await until('all accepted', async () => {
      const states = await Promise.all(jobs.map(({ jobId }) => stateOf(jobId)));
      return states.every((state) => state === 'accepted');
    });
    for (const { jobId } of jobs) expect(commandsOf(jobId)).to.have.length(1);
  });

  it('what the node did not accept comes again under a new message id', async () => {
    const { jobId } = await startUpload(database);
    centers[0]?.relay.poke();
    await until('the first', async () => commandsOf(jobId)[0]);
    await until('dispatched', async () => (await stateOf(jobId)) === 'dispatched');
    await database.query('UPDATE outbox SET next_at = UTC_TIMESTAMP(3) WHERE job_id = ?', [jobId]);
    await until('the second', async () => commandsOf(jobId)[1]);
    expect(commandsOf(jobId).map((one) => one.msgId)).to.deep.equal([`${jobId}-1-run-1`, `${jobId}-1-run-2`]);
    await node.send(jobId, 1, 1, 'accepted');
    await until('accepted', async () => (await stateOf(jobId)) === 'accepted');
  });

  it('a whole job passes; each event is had, progress is seen, a second copy changes nothing', async () => {
    const { jobId, to } = await startUpload(database);
    centers[1]?.relay.poke();
    await until('the command', async () => commandsOf(jobId)[0]);
    await node.send(jobId, 1, 1, 'accepted');
    await node.send(jobId, 1, 2, 'running');
    await until('running', async () => (await stateOf(jobId)) === 'running');
    node.progress(jobId, 1);
    await until('progress', async () => (await readJob(database, jobId)).bytes_done === 4_000_000);
    const end = await node.send(jobId, 1, 3, 'succeeded', uploaded(to));
    await until('succeeded', async () => (await stateOf(jobId)) === 'succeeded');
    await node.publish(end);
    await until('had twice', async () => node.had.filter((one) => one === `${jobId}/1/3`).length === 2);
    expect(node.had).to.include(`${jobId}/1/1`).and.include(`${jobId}/1/2`);
    expect(await count(database, 'pools WHERE id = ? AND block_count = 1', [to])).to.equal(1);
  });

  it('a cancel reaches the node, and its answer ends the job', async () => {
    node.onCommand = async (command) => {
      if (command.type === 'run') await node.send(command.job_id, 1, 1, 'running');
      if (command.type === 'cancel') await node.send(command.job_id, 1, 2, 'cancelled');
    };
    const { jobId } = await startUpload(database);
    centers[0]?.relay.poke();
    await until('running', async () => (await stateOf(jobId)) === 'running');
    await inTransaction(database, (manager) => cancelJob(manager, jobId, 'A person asked.'));
    centers[0]?.relay.poke();
    await until('cancelled', async () => (await stateOf(jobId)) === 'cancelled');
    expect(await count(database, 'claims WHERE job_id = ?', [jobId])).to.equal(0);
  });

  it('poison is put aside where it can be seen, and taken from the stream', async () => {
    const { jobId } = await startUpload(database);
    const js = node.nc.jetstream();
    await js.publish(evtSubject('n1', jobId, 'running'), new TextEncoder().encode('not json'));
    await js.publish(evtSubject('n1', jobId, 'odd'), new TextEncoder().encode('{"v":1}'));
    await js.publish(evtSubject('n2', jobId, 'running'), new TextEncoder().encode(JSON.stringify(event(jobId, 1, 1, 'running'))));
    await js.publish(
      evtSubject('n2', jobId, 'running'),
      new TextEncoder().encode(JSON.stringify(event(jobId, 1, 1, 'running', undefined, 'n2'))),
    );
    await until('four dead letters', async () => (await count(database, 'dead_letters')) === 4);
    expect(await stateOf(jobId)).not.to.equal('running');
    const jsm = await node.nc.jetstreamManager();
    await until('an empty stream', async () => (await jsm.streams.info(EVT_STREAM)).state.messages === 0);
  });

  it('JetStream that lost everything is made again, and the job goes on', async () => {
    node.onCommand = accept;
    const jsm = await node.nc.jetstreamManager();
    await jsm.streams.delete(CMD_STREAM);
    await jsm.streams.delete(EVT_STREAM);
    const { jobId } = await startUpload(database);
    centers[0]?.relay.poke();
    await until('accepted', async () => (await stateOf(jobId)) === 'accepted', 30_000);
  });

  it('MySQL away and back: events wait and are applied, commands go out', async () => {
    const first = await startUpload(database);
    centers[0]?.relay.poke();
    await until('the command', async () => commandsOf(first.jobId)[0]);
    await way.cut();
    await node.send(first.jobId, 1, 1, 'accepted');
    await node.send(first.jobId, 1, 2, 'running');
    const second = await startUpload(database);
    centers[0]?.relay.poke();
    await until('the relay to notice', async () =>
      behindWay.query('SELECT 1').then(
        () => false,
        () => true,
      ),
    );
    expect(await stateOf(first.jobId)).to.be.oneOf(['queued', 'dispatched']);
    await way.open();
    await until('the events', async () => (await stateOf(first.jobId)) === 'running', 20_000);
    await until('the second command', async () => commandsOf(second.jobId)[0], 20_000);
  });
});
