/** Two processes under one node's id: the older is refused, and listed for as long as it asks. */
import { expect } from 'chai';
import { type OwnDatabase, ownDatabase } from './support/database.ts';
import { type OwnNats, ownNats } from './support/nats.ts';
import { startCenter, type TestCenter } from './support/plane.ts';
import { StandInNode } from './support/stand-in-node.ts';

describe('two processes of one node', function () {
  this.timeout(30_000);
  let own: OwnDatabase | null = null;
  let nats: OwnNats | null = null;
  let center: TestCenter;

  before(async function () {
    own = await ownDatabase();
    nats = own === null ? null : await ownNats();
    if (own === null || nats === null) return this.skip();
    center = await startCenter(own.database, nats.url);
  });
  after(async () => {
    await center?.stop();
    await nats?.stop();
    await own?.drop();
  });

  it('the older one is refused and listed; a restart is nothing of the kind', async () => {
    const node = await StandInNode.connect('n1', nats!.url);
    const listed = async () => own!.database.query("SELECT resource, remedy FROM anomalies WHERE kind = 'two_processes'");
    node.epoch = 100;
    await node.sync();
    node.epoch = 200;
    await node.sync();
    await node.heartbeat();
    expect(await listed()).to.deep.equal([]);
    node.epoch = 100;
    for (const asks of [() => node.heartbeat(), () => node.sync()]) {
      expect((await asks().catch((error: { code: string }) => error)) as object).to.include({ code: 'stale_epoch' });
    }
    const [found, ...more] = await listed();
    expect(more).to.deep.equal([]);
    expect(found.resource).to.equal('node:n1');
    expect(found.remedy).to.include('OPENSERVICE_NODE_ID');
    await node.stop();
  });
});
