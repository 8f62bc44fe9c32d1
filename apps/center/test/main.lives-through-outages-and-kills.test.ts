import { callCenter } from '@openservice/runtime';
import type { DataSource } from '@openservice/store';
import { expect } from 'chai';
import { type OwnDatabase, ownDatabase, readJob, startUpload } from './support/database.ts';
import { uploaded } from './support/events.ts';
import { type OwnNats, ownNats } from './support/nats.ts';
import { Cuttable } from './support/plane.ts';
import { type CenterProcess, makeDataDir, readToken, type Servers, spawnCenter } from './support/process.ts';
import { StandInNode } from './support/stand-in-node.ts';
import { until } from './support/until.ts';

describe('the center as a process', function () {
  this.timeout(90_000);
  let own: OwnDatabase | null = null;
  let nats: OwnNats | null = null;
  let database: DataSource;
  let servers: Servers;
  let data: { dir: string; remove(): Promise<void> };
  const running: CenterProcess[] = [];
  const nodes: StandInNode[] = [];

  beforeEach(async function () {
    own = await ownDatabase();
    nats = own === null ? null : await ownNats();
    if (own === null || nats === null) return this.skip();
    database = own.database;
    data = await makeDataDir();
    servers = { mysql: own.url, nats: nats.url, dataDir: data.dir };
  });
  afterEach(async () => {
    for (const node of nodes.splice(0)) await node.stop();
    for (const center of running.splice(0)) await center.stop();
    await nats?.stop();
    await own?.drop();
    await data?.remove();
  });

  const start = async (failpoints = '', given = servers): Promise<CenterProcess> => {
    const center = await spawnCenter(given, failpoints);
    running.push(center);
    return center;
  };
  const ready = (center: CenterProcess) =>
    until('the center to be ready', async () => (await fetch(`${center.url}/readyz`)).status === 200, 30_000);
  const connectNode = async (): Promise<StandInNode> => {
    const node = await StandInNode.connect('n1', servers.nats);
    nodes.push(node);
    await until(
      'a center that answers',
      () =>
        node.start().then(
          () => true,
          () => false,
        ),
      30_000,
    );
    return node;
  };
  const stateOf = async (jobId: string) => (await readJob(database, jobId)).state;

  it('is up without MySQL, says what is missing, becomes ready with it, and stops cleanly', async () => {
    const way = new Cuttable(servers.mysql);
    const mysql = await way.open();
    await way.cut();
    const center = await start('', { ...servers, mysql });
    expect((await fetch(`${center.url}/healthz`)).status).to.equal(200);
    const missing = await fetch(`${center.url}/readyz`);
    expect(missing.status).to.equal(503);
    expect(await missing.json()).to.include({ mysql: false });
    const call = () => fetch(`${center.url}/openstore_v1/pools`, { headers: { Authorization: 'Bearer x' } });
    expect((await call()).status).to.equal(503);
    await way.open();
    await ready(center);
    const token = await readToken(data.dir);
    const list = await fetch(`${center.url}/openstore_v1/pools`, { headers: { Authorization: `Bearer ${token}` } });
    expect(list.status).to.equal(200);
    await way.cut();
    await until('503', async () => (await fetch(`${center.url}/readyz`)).status === 503);
    expect((await call()).status).to.equal(503);
    await way.open();
    await ready(center);
    await center.stop();
    expect(await center.gone).to.equal(0);
    await way.cut();
  });

  it('killed after the publish and before it is marked, another sends on and the job is accepted', async () => {
    const center = await start('center.published=kill');
    await ready(center);
    const node = await connectNode();
    const { jobId } = await startUpload(database);
    expect(await center.gone).to.equal('SIGKILL');
    await until('the command', async () => node.commands.length === 1);
    expect(await stateOf(jobId)).to.equal('queued');
    await node.send(jobId, 1, 1, 'accepted');
    await start();
    await until('accepted', async () => (await stateOf(jobId)) === 'accepted', 30_000);
  });

  it('killed after the commit of an event and before its ack, the event comes again and counts once', async () => {
    const center = await start('center.ingested=kill@3');
    await ready(center);
    const node = await connectNode();
    const { jobId, to } = await startUpload(database);
    await until('the command', async () => node.commands.length === 1);
    // One after the other: what comes together is taken in one transaction, and passes the failpoint once.
    await node.send(jobId, 1, 1, 'accepted');
    await until('accepted', async () => (await stateOf(jobId)) === 'accepted');
    await node.send(jobId, 1, 2, 'running');
    await until('running', async () => (await stateOf(jobId)) === 'running');
    const end = await node.send(jobId, 1, 3, 'succeeded', uploaded(to));
    expect(await center.gone).to.equal('SIGKILL');
    expect(await stateOf(jobId)).to.equal('succeeded');
    expect(node.had).not.to.include(`${jobId}/1/3`);
    await start();
    // The node sends what nobody said that he has.
    await node.publish(end);
    await until('had', async () => node.had.includes(`${jobId}/1/3`), 45_000);
    const [pool] = await database.query<{ n: number }[]>('SELECT block_count AS n FROM pools WHERE id = ?', [to]);
    expect(pool?.n).to.equal(1);
  });

  it('killed after the grant and before the reply, the node asks again and is granted again', async () => {
    const center = await start('center.prepared=kill');
    await ready(center);
    const node = await connectNode();
    const { jobId, to } = await startUpload(database);
    await until('the command', async () => node.commands.length === 1);
    await node.send(jobId, 1, 1, 'running');
    await until('running', async () => (await stateOf(jobId)) === 'running');
    const { fence } = await readJob(database, jobId);
    const request = { job_id: jobId, attempt: 1, fence, result: uploaded(to) };
    const ask = () => callCenter(node.nc, 'n1', 'prepare', request, { timeoutMs: 2_000 });
    expect((await ask().catch((error: { code: string }) => error)) as object).to.include({ code: 'center_unavailable' });
    expect(await center.gone).to.equal('SIGKILL');
    expect(await stateOf(jobId)).to.equal('committing');
    await start();
    const reply = await until('a reply', () => ask().catch(() => null), 30_000);
    expect(reply.granted).to.equal(true);
  });
});
