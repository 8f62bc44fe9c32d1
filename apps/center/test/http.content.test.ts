import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { serve } from '@hono/node-server';
import { expect } from 'chai';
import { poolTokens } from '../src/pool-tokens.ts';
import { Reconcile } from '../src/reconcile/reconcile.ts';
import { ContentServer, FINGERPRINT, refuse } from './support/content-server.ts';
import { count } from './support/database.ts';
import { BASE, type HttpCenter, httpCenter } from './support/http-center.ts';
import { fail, jobOf, result, succeed } from './support/jobs.ts';
import { silent } from './support/plane.ts';
import { until } from './support/until.ts';

const SIZE = 300_000;
const DAY = 24 * 3600_000;

describe('http: content that a client sends', () => {
  let center: HttpCenter;
  let node: ContentServer;
  let pool: string;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    pool = await center.pool('local');
    node = new ContentServer();
    node.publicKey = poolTokens(center.deps.secrets).publicKey;
    await pointTo(await node.open());
  });
  after(async () => {
    await node?.close();
    await center?.stop();
  });

  const pointTo = (endpoint: string | null, fingerprint = FINGERPRINT) =>
    center.database.query('UPDATE nodes SET pool_endpoint = ?, pool_fingerprint = ?', [endpoint, fingerprint]);
  const endpointNow = async (): Promise<string> =>
    (await center.database.query('SELECT pool_endpoint FROM nodes'))[0].pool_endpoint;
  const waiting = async (changes: Record<string, unknown> = {}): Promise<string> => {
    const made = await center.send('PUT', 'blocks', { name: 'sent', pool_id: pool, size: SIZE, ...changes });
    expect(made.status, made.text).to.equal(201);
    expect(made.headers.get('Location')).to.equal(`${BASE}/blocks/${made.body['block-id']}`);
    return made.body['block-id'];
  };
  const put = async (id: string, bytes: Uint8Array | null, range: string | null, headers: Record<string, string> = {}) => {
    const all = { Authorization: `Bearer ${center.token}`, 'Content-Type': 'application/octet-stream', ...headers };
    const answer = await center.app.request(`${BASE}/blocks/${id}/content`, {
      method: 'PUT',
      headers: range === null ? all : { ...all, 'Content-Range': range },
      ...(bytes === null ? {} : { body: bytes }),
    });
    const body = (await answer.json()) as Record<string, unknown>;
    return { status: answer.status, body, headers: answer.headers };
  };
  const piece = (bytes: Buffer, from: number, to: number) =>
    [bytes.subarray(from, to), `bytes ${from}-${to - 1}/${bytes.length}`] as const;
  const head = (id: string) => center.send('HEAD', `blocks/${id}/content`);
  const show = async (id: string) => (await center.send('GET', `blocks/${id}`)).body.block;
  const reconcile = () =>
    new Reconcile({ database: center.database, log: silent }, { poke: () => undefined, nodes: center.deps.nodes }).pass();

  it('comes in pieces; the last one begins the import, once, whatever answer was lost', async () => {
    const id = await waiting();
    const bytes = randomBytes(SIZE);
    expect(await show(id)).to.deep.include({ state: 'creating', size: SIZE, source: { type: 'content', node_id: 'n1' } });
    const first = await put(id, ...piece(bytes, 0, 100_000));
    expect([first.status, first.body]).to.deep.equal([200, { 'block-id': id, offset: 100_000 }]);
    const asked = await head(id);
    expect([asked.status, asked.headers.get('Content-Offset'), asked.text]).to.deep.equal([200, '100000', '']);
    expect(await count(center.database, 'jobs WHERE block_id = ?', [id])).to.equal(0);

    const pokes = center.pokes();
    const last = await put(id, ...piece(bytes, 100_000, SIZE));
    expect(last.status, JSON.stringify(last.body)).to.equal(202);
    expect(last.headers.get('Location')).to.equal(`${BASE}/jobs/${last.body['job-id']}`);
    expect(center.pokes()).to.equal(pokes + 1);
    expect(node.held.get(id)?.equals(bytes)).to.equal(true);
    const job = await jobOf(center, last.body['job-id'] as string);
    expect([job.kind, job.node_id]).to.deep.equal(['import', 'n1']);
    expect(job.params).to.deep.include({ block_id: id, size: SIZE, pool_id: pool, source: { type: 'content', node_id: 'n1' } });
    expect(await count(center.database, 'replicas WHERE block_id = ? AND job_id = ?', [id, job.id])).to.equal(1);

    for (const repeated of [await put(id, ...piece(bytes, 100_000, SIZE)), await put(id, ...piece(bytes, 0, 100_000))]) {
      expect([repeated.status, repeated.body]).to.deep.equal([202, last.body]);
    }
    expect((await head(id)).headers.get('Content-Offset')).to.equal(String(SIZE));
    await succeed(center, job.id, result({ [pool]: 'available' }, { size: SIZE }));
    expect(await show(id)).to.deep.include({ state: 'available', size: SIZE });
    expect((await put(id, ...piece(bytes, 100_000, SIZE))).body).to.deep.equal(last.body);
    expect(await count(center.database, 'jobs WHERE block_id = ?', [id])).to.equal(1);
  });

  it('comes whole without Content-Range; the job is found again where the center died before it was made', async () => {
    const bytes = randomBytes(SIZE);
    const whole = await waiting();
    expect((await put(whole, bytes, null)).status).to.equal(202);
    const id = await waiting();
    node.held.set(id, bytes);
    const [a, b] = await Promise.all([put(id, ...piece(bytes, 200_000, SIZE)), put(id, ...piece(bytes, 200_000, SIZE))]);
    expect([a.status, b.status]).to.deep.equal([202, 202]);
    expect(a.body).to.deep.equal(b.body);
  });

  it('that goes on at the wrong place is told the right one, and nothing is sent on', async () => {
    const id = await waiting();
    const bytes = randomBytes(SIZE);
    await put(id, ...piece(bytes, 0, 1000));
    const seen = node.seen.length;
    for (const from of [0, 500, 2000]) {
      const off = await put(id, ...piece(bytes, from, 3000));
      expect([off.status, off.body.code, off.body.offset]).to.deep.equal([409, 'content_offset_mismatch', 1000]);
    }
    expect(node.seen.slice(seen)).to.deep.equal(['HEAD', 'HEAD', 'HEAD']);
    node.onPut = async (incoming, response) => {
      incoming.resume();
      refuse(response, 409, 'content_offset_mismatch', { offset: 1700 });
    };
    const raced = await put(id, ...piece(bytes, 1000, 3000));
    expect([raced.status, raced.body.offset]).to.deep.equal([409, 1700]);
  });

  const bad: [string, string | null, Record<string, string>, string][] = [
    ['a range that is none', 'bytes 0-', {}, 'header.Content-Range'],
    ['a range of another size', `bytes 0-9/${SIZE + 1}`, {}, 'header.Content-Range'],
    ['a range that ends before it begins', `bytes 9-0/${SIZE}`, {}, 'header.Content-Range'],
    ['a range past the end', `bytes 0-${SIZE}/${SIZE}`, {}, 'header.Content-Range'],
    ['a length that is not the range’s', `bytes 0-9/${SIZE}`, { 'Content-Length': '11' }, 'header.Content-Length'],
    ['part of it as if it were the whole', null, { 'Content-Length': '10' }, 'header.Content-Length'],
    ['fewer bytes than the range has', `bytes 0-10/${SIZE}`, {}, 'body'],
    ['more bytes than the range has', `bytes 0-8/${SIZE}`, {}, 'body'],
  ];
  for (const [what, range, headers, path] of bad) {
    it(`refuses ${what}`, async () => {
      const id = await waiting();
      const answer = await put(id, randomBytes(10), range, headers);
      expect([answer.status, answer.body.code], JSON.stringify(answer.body)).to.deep.equal([422, 'invalid_request']);
      expect((answer.body.errors as { path: string }[])[0]?.path).to.equal(path);
    });
  }

  it('is not for a block that waits for none, nor for one that is not there, nor to be read', async () => {
    const id = await center.block([pool]);
    const answer = await put(id, randomBytes(10), null);
    expect([answer.status, answer.body.code]).to.deep.equal([409, 'content_not_expected']);
    expect((await head(id)).status).to.equal(409);
    expect((await put(`block-${'0'.repeat(26)}`, randomBytes(1), null)).status).to.equal(404);
    expect((await put('nonsense', randomBytes(1), null)).status).to.equal(404);
    expect((await center.send('GET', `blocks/${id}/content`)).body.code).to.equal('method_not_allowed');
    expect((await put(await waiting(), randomBytes(1), null, { Authorization: 'Bearer no' })).status).to.equal(401);
    const viewer = { Authorization: `Bearer ${await center.tokenFor('viewer')}` };
    expect((await put(await waiting(), randomBytes(1), null, viewer)).status).to.equal(403);
    expect((await center.send('PUT', 'blocks', { name: 'a', pool_id: pool, size: 0 })).status).to.equal(422);
    expect(
      (await center.send('PUT', 'blocks', { name: 'a', pool_id: pool, size: 1, bandwidth: 5 })).body.errors[0].path,
    ).to.equal('bandwidth');
  });

  it('goes to the node whose certificate the center knows, and to no other: not even the token', async () => {
    const id = await waiting();
    const [endpoint, seen] = [await endpointNow(), node.seen.length];
    await pointTo(endpoint, 'ab'.repeat(32));
    const other = await put(id, randomBytes(SIZE), null);
    expect([other.status, other.body.code]).to.deep.equal([503, 'node_unavailable']);
    expect(other.body.detail).to.include('another certificate');
    expect(node.seen.length).to.equal(seen);
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    await pointTo(`https://127.0.0.1:${port}`);
    const away = await put(id, randomBytes(SIZE), null);
    expect([away.status, away.body.code]).to.deep.equal([503, 'node_unavailable']);
    expect((await head(id)).status).to.equal(503);
    await pointTo(null);
    expect((await put(id, randomBytes(SIZE), null)).body.code).to.equal('node_without_pool_server');
    await pointTo(endpoint);
    expect((await put(id, randomBytes(SIZE), null)).status).to.equal(202);
  });

  it('a refusal of the node comes through in its words; one that is not the client’s to mend is a 503', async () => {
    const id = await waiting();
    const told: [number, string, number][] = [];
    for (const [status, code] of [
      [422, 'no_space'],
      [401, 'unauthorized'],
      [503, 'content_busy'],
      [500, 'internal'],
    ] as const) {
      node.onPut = async (incoming, response) => {
        incoming.resume();
        refuse(response, status, code);
      };
      const answer = await put(id, randomBytes(SIZE), null);
      told.push([status, answer.body.code as string, answer.status]);
    }
    expect(told).to.deep.equal([
      [422, 'no_space', 422],
      [401, 'node_unavailable', 503],
      [503, 'content_busy', 503],
      [500, 'node_unavailable', 503],
    ]);
  });

  describe('over a connection', () => {
    let http: ReturnType<typeof serve>;
    let port = 0;

    before(async () => {
      http = serve({ fetch: center.app.fetch, hostname: '127.0.0.1', port: 0 });
      await once(http, 'listening');
      port = (http.address() as AddressInfo).port;
    });
    after(async () => {
      await new Promise((resolve) => http.close(resolve));
    });
    const begin = (id: string, size: number) =>
      request({
        host: '127.0.0.1',
        port,
        method: 'PUT',
        path: `${BASE}/blocks/${id}/content`,
        headers: {
          Authorization: `Bearer ${center.token}`,
          'Content-Length': size,
          'Content-Range': `bytes 0-${size - 1}/${size}`,
          'Content-Type': 'application/octet-stream',
        },
      });

    it('is passed on as it comes, never held: a node that reads no more stops the client', async function () {
      this.timeout(20_000);
      const size = 128 * 1024 * 1024;
      const id = await waiting({ size });
      const gate = Promise.withResolvers<void>();
      let last = 0;
      node.onPut = async (incoming, response) => {
        await gate.promise;
        for await (const part of incoming) last += (part as Buffer).length;
        response.end(JSON.stringify({ offset: last }));
      };
      const call = begin(id, size);
      const answered = once(call, 'response');
      const block = randomBytes(1024 * 1024);
      let written = 0;
      const send = async () => {
        while (written < size) {
          written += block.length;
          if (!call.write(block)) await once(call, 'drain');
        }
        call.end();
      };
      const sent = send();
      // The sockets between fill up, then nothing more is taken: no number of bytes, so two looks that see the same.
      let before = -1;
      await until('the client is stopped', async () => {
        const same = before === written && written > 0;
        before = written;
        await new Promise((resolve) => setTimeout(resolve, 200));
        return same;
      });
      expect(written, 'of 128 MiB').to.be.below(64 * 1024 * 1024);
      gate.resolve();
      await sent;
      const [answer] = await answered;
      answer.resume();
      expect([answer.statusCode, last]).to.deep.equal([202, size]);
    });

    it('that breaks off in the middle breaks off at the node, and goes on from what came', async () => {
      const id = await waiting();
      const bytes = randomBytes(SIZE);
      const broken = Promise.withResolvers<string>();
      node.onPut = async (incoming) => {
        await node.take(id, incoming).then(
          () => broken.resolve('it ended'),
          (error: { code: string }) => broken.resolve(error.code),
        );
      };
      const call = begin(id, SIZE);
      call.on('error', () => undefined);
      call.write(bytes.subarray(0, 50_000));
      await until('the first bytes are there', async () => (node.held.get(id)?.length ?? 0) === 50_000);
      call.destroy();
      expect(await broken.promise).to.equal('ECONNRESET');
      expect((await head(id)).headers.get('Content-Offset')).to.equal('50000');
      expect((await put(id, ...piece(bytes, 50_000, SIZE))).status).to.equal(202);
      expect(node.held.get(id)?.equals(bytes)).to.equal(true);
    });

    it('a client that is refused early hears why, and is not cut off', async () => {
      const id = await waiting();
      node.held.set(id, Buffer.alloc(10));
      const call = begin(id, SIZE);
      call.write(Buffer.alloc(1000));
      const [answer] = await once(call, 'response');
      const parts: Buffer[] = [];
      for await (const part of answer) parts.push(part as Buffer);
      call.destroy();
      expect(JSON.parse(Buffer.concat(parts).toString('utf8'))).to.deep.include({ code: 'content_offset_mismatch', offset: 10 });
    });
  });

  describe('that is not wanted any more', () => {
    const dropped = () => center.nodes.calls.filter((call) => call.method === 'content_drop').map((call) => call.request);
    const due = (id: string) =>
      center.database.query('UPDATE blocks SET purge_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND WHERE id = ?', [id]);
    const away = async (work: () => Promise<void>) => {
      const before = center.nodes.answers.content_drop;
      center.nodes.away('content_drop');
      await work().finally(() => {
        center.nodes.answers.content_drop = before;
      });
    };

    it('goes with its block: at once, or when its node is back', async () => {
      const id = await waiting();
      await put(id, ...piece(randomBytes(SIZE), 0, 10));
      const gone = await center.send('DELETE', `blocks/${id}`);
      expect([gone.status, gone.body]).to.deep.equal([200, { 'block-id': id, 'job-id': null }]);
      expect(dropped()).to.deep.include({ block_id: id });
      expect((await center.send('GET', `blocks/${id}`)).status).to.equal(404);

      const set = (await center.send('PUT', 'sets', { name: 'sent' })).body['set-id'];
      const late = await waiting({ set_id: set });
      await away(async () => {
        expect((await center.send('DELETE', `blocks/${late}`)).status).to.equal(200);
      });
      expect(await show(late)).to.deep.include({ state: 'deleting', set_id: null, replicas: [] });
      expect((await center.send('GET', `sets/${set}`)).body.set.block_count).to.equal(0);
      await reconcile();
      expect((await show(late)).state, 'asked again after a while').to.equal('deleting');
      await due(late);
      await reconcile();
      expect((await center.send('GET', `blocks/${late}`)).status).to.equal(404);
    });

    it('is given up when nothing comes for long; as long as bytes come it is not', async () => {
      const [id, kept] = [await waiting(), await waiting()];
      await due(id);
      await due(kept);
      await put(kept, ...piece(randomBytes(SIZE), 0, 10));
      await reconcile();
      await reconcile();
      expect((await show(id)).state).to.equal('error');
      expect((await show(id)).error.code).to.equal('content_abandoned');
      expect(dropped()).to.deep.include({ block_id: id });
      expect((await put(id, randomBytes(SIZE), null)).body.code).to.equal('content_not_expected');
      expect((await center.send('DELETE', `blocks/${id}`)).body).to.deep.equal({ 'block-id': id, 'job-id': null });
      expect((await show(kept)).state).to.equal('creating');
      const [row] = await center.database.query(
        'SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(3), purge_at) AS s FROM blocks WHERE id = ?',
        [kept],
      );
      expect(Number(row.s) * 1000).to.be.within(DAY - 60_000, DAY);
    });

    it('stays while its import may be tried again, and goes with the block', async () => {
      const id = await waiting();
      const jobId = (await put(id, randomBytes(SIZE), null)).body['job-id'] as string;
      await fail(center, jobId);
      expect((await show(id)).state).to.equal('error');
      await reconcile();
      expect(dropped()).not.to.deep.include({ block_id: id });
      const again = (await center.send('POST', `jobs/${jobId}?action=retry`)).body['job-id'];
      await fail(center, again);
      const removal = (await center.send('DELETE', `blocks/${id}`)).body['job-id'];
      await succeed(center, removal, result({ [pool]: 'removed' }));
      await reconcile();
      expect(dropped()).to.deep.include({ block_id: id });
      expect((await center.send('GET', `blocks/${id}`)).status).to.equal(404);
    });
  });
});
