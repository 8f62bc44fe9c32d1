import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CMD_STREAM, cmdSubject, EVT_STREAM, evtSubject } from '@openservice/protocol';
import { connectNats } from '@openservice/runtime';
import { expect } from 'chai';
import type { NatsConnection } from 'nats';
import { StreamHealth } from '../src/relay/stream-health.ts';
import { ensureAll } from '../src/relay/streams.ts';
import { type OwnDatabase, ownDatabase } from './support/database.ts';
import { type OwnNats, ownNats } from './support/nats.ts';
import { silent } from './support/plane.ts';

describe('the look at the streams', function () {
  this.timeout(30_000);
  let own: OwnDatabase | null = null;
  let nats: OwnNats | null = null;
  let nc: NatsConnection;
  let health: StreamHealth;
  let rebuilt: number;

  before(async function () {
    own = await ownDatabase();
    nats = own === null ? null : await ownNats();
    if (own === null || nats === null) return this.skip();
    nc = await connectNats({ url: nats.url, name: 'test', log: silent, signal: AbortSignal.timeout(10_000) });
    health = new StreamHealth({ database: own.database, nc, log: silent }, () => rebuilt++);
    await ensureAll(nc, own.database);
  });
  after(async () => {
    await nc?.close();
    await nats?.stop();
    await own?.drop();
  });
  beforeEach(() => {
    rebuilt = 0;
  });

  const messagesIn = async (stream: string) => (await (await nc.jetstreamManager()).streams.info(stream)).state.messages;

  it('leaves nothing in a stream that is well, and lets it be', async () => {
    await nc.jetstream().publish(evtSubject('n1', 'job-1', 'accepted'), '{}');
    for (let i = 0; i < 3; i++) await health.pass();
    expect(rebuilt).to.equal(0);
    expect([await messagesIn(CMD_STREAM), await messagesIn(EVT_STREAM)]).to.deep.equal([0, 1]);
  });

  it('lets a stream that is not there be: others make it', async () => {
    await (await nc.jetstreamManager()).streams.delete(CMD_STREAM);
    for (let i = 0; i < 3; i++) await health.pass();
    expect(rebuilt).to.equal(0);
    await ensureAll(nc, own!.database);
  });

  it('makes streams anew whose files were deleted under the server', async () => {
    await rm(join(nats!.store, 'jetstream/$G/streams'), { recursive: true });
    await health.pass();
    expect(rebuilt, 'once may be a moment of the server').to.equal(0);
    // A file that the server still holds open works on; it is closed sooner or later.
    for (let i = 0; i < 4; i++) await health.pass();
    expect(rebuilt).to.be.greaterThan(0);
    const jsm = await nc.jetstreamManager();
    for (const [stream, subject] of [
      [CMD_STREAM, cmdSubject('n1', 'run')],
      [EVT_STREAM, evtSubject('n1', 'job-2', 'accepted')],
    ] as const) {
      await nc.jetstream().publish(subject, `to ${stream}`);
      expect((await jsm.streams.getMessage(stream, { last_by_subj: subject })).string()).to.equal(`to ${stream}`);
    }
  });
});
