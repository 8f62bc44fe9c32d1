/** GET /events and /jobs/{id}/events over a real server: two centers on one database, clients that come back, stall and leave. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { type HttpBindings, serve } from '@hono/node-server';
import { newId } from '@openservice/domain';
import { inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { type NewEvent, recordEvent } from '../src/events/record.ts';
import { serverSentEvents } from '../src/events/server-sent.ts';
import { sweepEvents } from '../src/events/sweep.ts';
import { EventTail } from '../src/events/tail.ts';
import { makeApp } from '../src/http/app.ts';
import { BASE, type HttpCenter, httpCenter } from './support/http-center.ts';
import { SseClient } from './support/sse.ts';
import { until } from './support/until.ts';

const at = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

async function listen(fetch: Parameters<typeof serve>[0]['fetch']): Promise<Server> {
  const server = serve({ fetch, hostname: '127.0.0.1', port: 0 }) as Server;
  if (!server.listening) await once(server, 'listening');
  return server;
}

describe('events over HTTP', function () {
  this.timeout(60_000);
  let center: HttpCenter;
  let other: { events: EventTail; close(): Promise<void> };
  let urls: [string, string];
  const servers: Server[] = [];
  const clients: SseClient[] = [];

  beforeEach(async function () {
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.events.start();
    const events = new EventTail({ database: center.database, log: center.deps.log });
    await events.start();
    const app = makeApp({ ...center.deps, events });
    other = { events, close: () => app.close() };
    servers.push(await listen(center.app.fetch), await listen(app.fetch));
    urls = [at(servers[0]!), at(servers[1]!)];
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    await other?.events.stop();
    await other?.close();
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
    await center?.stop();
  });

  async function open(url: string, path: string, headers: Record<string, string> = {}): Promise<SseClient> {
    const client = await SseClient.open(`${url}${BASE}${path}`, { Authorization: `Bearer ${center.token}`, ...headers });
    clients.push(client);
    return client;
  }
  async function write(type: string, more: Partial<NewEvent> = {}): Promise<void> {
    await inTransaction(center.database, (manager) => recordEvent(manager, { type, data: { hello: 'wörld' }, ...more }));
    center.events.poke();
  }
  const types = (client: SseClient) => client.events.map(({ event }) => event);
  const has = (client: SseClient, count: number) => until(`${count} events`, async () => client.events.length >= count);

  it('an event written at one center is seen at both, and a client that comes back goes on behind its last one, at the other', async () => {
    const first = await open(urls[0], '/events');
    const second = await open(urls[1], '/events');
    await write('test.one', { pool_id: 'pool-1' });
    await has(first, 1);
    await has(second, 1);
    expect(first.events).to.deep.equal(second.events);
    expect(first.events[0]).to.include({ event: 'test.one' });
    expect(first.events[0]!.data).to.include({
      id: Number(first.lastEventId),
      type: 'test.one',
      pool_id: 'pool-1',
      job_id: null,
    });
    expect(first.events[0]!.data.data).to.deep.equal({ hello: 'wörld' });
    first.close();
    await first.ended;
    await write('test.two');
    await write('test.three');
    await has(second, 3);
    const again = await open(urls[1], '/events', { 'Last-Event-ID': first.lastEventId });
    await has(again, 2);
    expect(types(again)).to.deep.equal(['test.two', 'test.three']);
    const byQuery = await open(urls[0], `/events?last_event_id=${first.lastEventId}`);
    await has(byQuery, 2);
    expect(byQuery.events).to.deep.equal(again.events);
  });

  it('filters by type and by what the event is about', async () => {
    const blockId = newId('block');
    const byType = await open(urls[0], '/events?type=test,other.two');
    const byBlock = await open(urls[1], `/events?block_id=${blockId}`);
    await write('other.one');
    await write('other.two');
    await write('test.one', { block_id: newId('block') });
    await write('test.two', { block_id: blockId });
    await has(byType, 3);
    await has(byBlock, 1);
    expect(types(byType)).to.deep.equal(['other.two', 'test.one', 'test.two']);
    expect(types(byBlock)).to.deep.equal(['test.two']);
  });

  it('a job is followed from its beginning', async () => {
    await center.addNode('n1');
    const [from, to] = [await center.pool('local'), await center.pool('local')];
    const blockId = await center.block([from]);
    const { body } = await center.send('POST', `blocks/${blockId}?action=upload`, { pool_id: to });
    const client = await open(urls[1], `/jobs/${body['job-id']}/events`);
    await has(client, 1);
    expect(client.events[0]!.data).to.include({ type: 'job.queued', job_id: body['job-id'], block_id: blockId, node_id: 'n1' });
    expect(client.events[0]!.data.data).to.include({ kind: 'upload', attempt: 1 });
    const unknown = await center.send('GET', `jobs/${newId('job')}/events`);
    expect([unknown.status, unknown.body.code]).to.deep.equal([404, 'job_not_found']);
  });

  it('a client that was away for longer than events are kept is told what it has missed, then goes on', async () => {
    for (let i = 0; i < 5; i++) await write('test.old');
    await until('positions', async () => (await center.events.state()).last === 5);
    await sweepEvents(center.database, { keepMs: 3_600_000, most: 2 });
    await until('the floor is seen', async () => {
      center.events.poke();
      return (await center.events.state()).floor === 3;
    });
    const client = await open(urls[0], '/events', { 'Last-Event-ID': '1' });
    await has(client, 3);
    expect(types(client)).to.deep.equal(['gap', 'test.old', 'test.old']);
    expect(client.events[0]!.data).to.include({ after: 1, until: 3, reason: 'retention' });
    const ahead = await open(urls[0], '/events', { 'Last-Event-ID': '900' });
    await has(ahead, 1);
    expect(ahead.events[0]!.data).to.include({ type: 'gap', after: 900, until: 5, reason: 'reset' });
  });

  it('streams end when the center stops', async () => {
    const client = await open(urls[0], '/events');
    await center.events.stop();
    await client.ended;
    expect(client.events).to.deep.equal([]);
  });

  it('needs a token, a viewer is enough, and refuses what is no id', async () => {
    const bare = await fetch(`${urls[0]}${BASE}/events`);
    expect(bare.status).to.equal(401);
    await bare.body?.cancel();
    await open(urls[0], '/events', { Authorization: `Bearer ${await center.tokenFor('viewer')}` });
    const wrong = await center.send('GET', 'events', undefined, { 'Last-Event-ID': 'x' });
    expect([wrong.status, wrong.body.code]).to.deep.equal([422, 'invalid_request']);
    expect((await center.send('GET', 'events?type=Job')).status).to.equal(422);
    expect((await center.send('GET', 'events?colour=red')).status).to.equal(422);
  });
});

describe('a stream to one client', function () {
  this.timeout(30_000);
  const event = (position: number, bytes: number) => ({
    position,
    type: 'test.big',
    job_id: null,
    block_id: null,
    node_id: null,
    pool_id: null,
    instance_id: null,
    data: { text: 'x'.repeat(bytes) },
    at: new Date(),
  });

  it('a client that does not read is dropped, and what it does not take is not read for it', async () => {
    let reads = 0;
    let dropped: () => void = () => undefined;
    const wasDropped = new Promise<void>((resolve) => {
      dropped = resolve;
    });
    const tail = {
      stopped: new AbortController().signal,
      state: async () => ({ last: 1e9, floor: 0, waiting: false }),
      changed: async () => undefined,
      read: async (after: number) => {
        reads++;
        return { events: [event(after + 1, 64 * 1024)], upTo: after + 1 };
      },
    };
    const server = await listen((_, env) => {
      const drop = (): void => void (env as HttpBindings).outgoing.destroy();
      return new Response(serverSentEvents({ tail, after: 0, filter: {}, drop, onEnd: dropped, stallMs: 300 }));
    });
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
    const closed = once(socket, 'close');
    socket.on('error', () => undefined);
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await wasDropped;
    // What the kernel's buffers took, and no more.
    expect(reads).to.be.greaterThan(0).and.lessThan(2_000);
    socket.resume();
    await closed;
    server.close();
  });

  it('says that it is there, and where it is, while nothing comes', async () => {
    const tail = {
      stopped: new AbortController().signal,
      state: async () => ({ last: 77, floor: 0, waiting: false }),
      changed: async (_: number, ms: number) => {
        expect(ms).to.be.at.most(20);
        await until('the heartbeat is due', async () => performance.now() > startedAt + 21);
      },
      read: async () => ({ events: [], upTo: 77 }),
    };
    const startedAt = performance.now();
    const stream = serverSentEvents({
      tail,
      after: 5,
      filter: {},
      drop: () => undefined,
      onEnd: () => undefined,
      heartbeatMs: 20,
    });
    const reader = stream.getReader();
    const texts: string[] = [];
    for (let i = 0; i < 2; i++) texts.push(new TextDecoder().decode((await reader.read()).value));
    await reader.cancel();
    expect(texts).to.deep.equal(['retry: 2000\n\n', ': still here\nid: 77\n\n']);
  });
});
