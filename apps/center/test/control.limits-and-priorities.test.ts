import { inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { actOnOverdue } from '../src/reconcile/overdue.ts';
import { admit } from '../src/relay/admission.ts';
import { leaseDue, lookForDue } from '../src/relay/lease.ts';
import { sync } from '../src/rpc/sync.ts';
import { count } from './support/database.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { jobOf, result, tell } from './support/jobs.ts';
import { type OwnNats, ownNats } from './support/nats.ts';
import { silent, startCenter, type TestCenter } from './support/plane.ts';
import { relayAll } from './support/relayed.ts';

describe('limits and priorities', function () {
  this.timeout(60_000);
  let center: HttpCenter;
  let pool: string;
  let cloud: string;
  let other: string;

  before(async function () {
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    await center.addNode('n2');
    pool = await center.pool('local');
    other = await center.pool('local', 'n2');
    cloud = await center.pool('s3');
  });
  after(() => center?.stop());
  afterEach(async () => {
    await center?.database.query("UPDATE jobs SET state = 'cancelled'");
    await center?.database.query('DELETE FROM claims');
    await center?.database.query('DELETE FROM outbox');
    await center?.database.query('UPDATE nodes SET max_jobs = NULL, bandwidth = NULL, sync_wanted = 0');
    await center?.database.query('UPDATE pools SET max_jobs = NULL, bandwidth = NULL');
  });

  const start = async (more: Record<string, unknown> = {}, from = pool) => {
    const block = await center.block([from]);
    const answer = await center.send('POST', `blocks/${block}?action=upload`, { pool_id: cloud, ...more });
    expect(answer.status, answer.text).to.equal(202);
    return answer.body['job-id'] as string;
  };
  const limit = async (what: string, body: unknown) => {
    const answer = await center.send('POST', `${what}?action=limit`, body);
    expect(answer.status, answer.text).to.equal(200);
    return answer.body;
  };
  const sent = async () => (await relayAll(center.database)).map(({ job_id }) => job_id);
  const shown = async (id: string) => (await center.send('GET', `jobs/${id}`)).body.job;
  const end = async (id: string) => {
    await tell(center, id, 'running');
    await tell(center, id, 'succeeded', result({ [cloud]: 'available' }));
  };

  it('the relay goes by priority, then age; every action takes one, and the job shows it', async () => {
    const [ninth, first, plain, second] = [
      await start({ priority: 9 }),
      await start({ priority: 1 }),
      await start(),
      await start({ priority: 1 }),
    ];
    expect((await shown(plain)).priority).to.equal(5);
    expect((await shown(first)).priority).to.equal(1);
    const commands = await relayAll(center.database);
    expect(commands.map(({ job_id }) => job_id)).to.deep.equal([first, second, plain, ninth]);
    expect(commands[0]?.payload).to.include({ priority: 1 });
    await tell(center, ninth, 'running');
    await center.send('POST', `jobs/${ninth}?action=cancel`);
    const late = await start({ priority: 1 });
    expect(await sent(), 'what its node has goes before what it gets').to.deep.equal([ninth, late]);
  });

  for (const [what, method, path, body] of [
    ['a copy', 'POST', 'blocks/B?action=copy', { pool_id: 'P' }],
    ['a move', 'POST', 'blocks/B?action=move', { pool_id: 'P' }],
    ['a restore', 'POST', 'blocks/B?action=restore', { pool_id: 'P' }],
    ['a verify', 'POST', 'blocks/B?action=verify', {}],
    ['a delete', 'DELETE', 'blocks/B?priority=3', undefined],
    ['an import', 'PUT', 'blocks', { name: 'x', pool_id: 'P', source: { type: 'http', url: 'http://example.com/d.img' } }],
    ['a load', 'PUT', 'cdm_instances', { block_id: 'B' }],
    ['a collection', 'POST', 'pools/P?action=gc', {}],
    ['a verify of a pool', 'POST', 'pools/P?action=verify', {}],
    ['a rebuild', 'POST', 'pools/P?action=rebuild', {}],
  ] as [string, string, string, Record<string, unknown> | undefined][]) {
    it(`takes a priority with ${what}, and refuses one that is none`, async () => {
      const block = await center.block([pool]);
      const target = await center.pool('s3');
      const fill = (text: string) => text.replaceAll('B', block).replace(/\bP\b/, target);
      const real = (priority: unknown) =>
        body === undefined ? undefined : { ...(JSON.parse(fill(JSON.stringify(body))) as object), priority };
      const at = path.includes('B') || path.includes('P') ? fill(path) : path;
      const wrong = await center.send(method, at.replace('priority=3', 'priority=10'), real(10));
      expect([wrong.status, wrong.body.code], wrong.text).to.deep.equal([422, 'invalid_request']);
      const answer = await center.send(method, at, real(3));
      expect(answer.status, answer.text).to.equal(202);
      expect((await shown(answer.body['job-id'])).priority).to.equal(3);
    });
  }

  it('a retry keeps the priority', async () => {
    const id = await start({ priority: 2 });
    await center.send('POST', `jobs/${id}?action=cancel`);
    const next = (await center.send('POST', `jobs/${id}?action=retry`)).body['job-id'];
    expect((await shown(next)).priority).to.equal(2);
  });

  it('max_jobs of a node holds the rest back, and lets the next one go by priority when one has ended', async () => {
    expect((await limit('nodes/n1', { max_jobs: 2 })).node.max_jobs).to.equal(2);
    const [a, b, c, urgent] = [await start(), await start(), await start(), await start({ priority: 1 })];
    const elsewhere = await start({}, other);
    expect(await sent()).to.have.members([urgent, a, elsewhere]);
    expect((await shown(b)).waiting_for).to.equal('Its turn: node n1 takes 2 at a time (max_jobs).');
    expect(
      (await center.send('GET', 'jobs?state=queued')).body.jobs.every((job: { waiting_for: string }) => job.waiting_for),
    ).to.equal(true);
    expect((await shown(a)).waiting_for).to.equal(null);
    await end(a);
    expect(await sent()).to.deep.equal([b]);
    await limit('nodes/n1', { max_jobs: 3 });
    expect(await sent()).to.deep.equal([c]);
  });

  it('max_jobs of a pool counts jobs of all nodes; both limits hold together', async () => {
    await limit(`pools/${cloud}`, { max_jobs: 2 });
    await limit('nodes/n1', { max_jobs: 1 });
    const [a, b, c, d] = [await start(), await start(), await start({}, other), await start({}, other)];
    expect(await sent()).to.deep.equal([a, c]);
    expect((await shown(b)).waiting_for)
      .to.include('node n1 takes 1')
      .and.include(`pool ${cloud} takes 2`);
    await end(a);
    expect(await sent(), 'b is older, and its node has room').to.deep.equal([b]);
    await end(c);
    expect(await sent()).to.deep.equal([d]);
  });

  it('a job that fails and is tried again takes a new place; one whose limit is taken away goes', async () => {
    await limit('nodes/n1', { max_jobs: 1 });
    const [a, b] = [await start(), await start()];
    expect(await sent()).to.deep.equal([a]);
    await tell(center, a, 'failed');
    const again = await shown(a);
    expect(again.next_attempt_at).to.be.a('string');
    expect(again.history.at(-1).note).to.match(/the next begins in \d+ ms/);
    await center.database.query("UPDATE outbox SET next_at = next_at + INTERVAL 1 HOUR WHERE job_id = ? AND status = 'held'", [
      a,
    ]);
    expect(await sent(), 'the other has its place meanwhile').to.deep.equal([b]);
    await center.database.query("UPDATE outbox SET next_at = next_at - INTERVAL 2 HOUR WHERE job_id = ? AND status = 'held'", [
      a,
    ]);
    expect(await sent()).to.deep.equal([]);
    await limit('nodes/n1', { max_jobs: null });
    expect(await sent()).to.deep.equal([a]);
    expect((await shown(a)).next_attempt_at).to.equal(null);
  });

  it('several relays at once never let out too many', async () => {
    await limit('nodes/n1', { max_jobs: 7 });
    await Promise.all(Array.from({ length: 40 }, () => start()));
    const relay = async () => {
      await admit(center.database);
      return leaseDue(center.database, (await lookForDue(center.database)).priorities);
    };
    const taken = (await Promise.all(Array.from({ length: 6 }, relay))).flat();
    expect(taken).to.have.length(7);
    expect(new Set(taken.map(({ job_id }) => job_id)).size).to.equal(7);
  });

  it('a center that stands still while it lets jobs go holds up nobody else’s commands', async () => {
    await limit('nodes/n1', { max_jobs: 1 });
    const held = await start();
    const free = await start({}, other);
    await inTransaction(center.database, async (stopped) => {
      await stopped.query("SELECT name FROM row_locks WHERE name = 'admission' FOR UPDATE");
      expect(await sent()).to.deep.equal([free]);
    });
    expect(await sent()).to.deep.equal([held]);
  });

  it('a held job that is overdue is noted once and stays held', async () => {
    await limit('nodes/n1', { max_jobs: 1 });
    const [a, b] = [await start(), await start()];
    expect(await sent()).to.deep.equal([a]);
    for (let i = 0; i < 3; i++) {
      await center.database.query('UPDATE jobs SET deadline_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND WHERE id = ?', [b]);
      await actOnOverdue(center.database);
    }
    expect(await sent()).to.deep.equal([]);
    expect(
      (await shown(b)).history.filter(({ note }: { note: string | null }) => note?.includes('waits for its turn')),
    ).to.have.length(1);
    await center.send('POST', `jobs/${b}?action=cancel`);
    expect((await shown(b)).state, 'no node knows of it').to.equal('cancelled');
  });

  it('limits are checked, kept apart, and taken away with null', async () => {
    const refused = async (what: string, body: unknown) => {
      const answer = await center.send('POST', `${what}?action=limit`, body);
      expect([answer.status, answer.body.code], answer.text).to.deep.equal([422, 'invalid_request']);
    };
    for (const what of ['nodes/n1', `pools/${cloud}`]) {
      for (const body of [{}, { max_jobs: 0 }, { max_jobs: 1.5 }, { bandwidth: 0 }, { bandwidth: '1' }, { jobs: 1 }])
        await refused(what, body);
    }
    await limit('nodes/n1', { max_jobs: 4 });
    expect((await limit('nodes/n1', { bandwidth: 1e6 })).node).to.include({ max_jobs: 4, bandwidth: 1e6 });
    expect((await limit('nodes/n1', { max_jobs: null })).node).to.include({ max_jobs: null, bandwidth: 1e6 });
    expect((await center.send('POST', 'nodes/nobody?action=limit', { max_jobs: 1 })).status).to.equal(404);
    const operator = { Authorization: `Bearer ${await center.tokenFor('operator')}` };
    expect((await center.send('POST', 'nodes/n1?action=limit', { max_jobs: 1 }, operator)).status).to.equal(403);
  });

  describe('bandwidth', () => {
    let nats: OwnNats | null = null;
    let wired: TestCenter;

    before(async function () {
      nats = await ownNats();
      if (nats === null) return this.skip();
      wired = await startCenter(center.database, nats.url, silent);
    });
    after(async () => {
      await wired?.stop();
      await nats?.stop();
    });

    it('is told at the next sync, which a change asks for', async () => {
      const wanted = () => count(center.database, 'nodes WHERE sync_wanted = 1');
      await limit('nodes/n1', { max_jobs: 3 });
      expect(await wanted(), 'the node has nothing to do with it').to.equal(0);
      await limit('nodes/n1', { bandwidth: 5e6 });
      expect(await wanted()).to.equal(1);
      await limit(`pools/${cloud}`, { bandwidth: 2e6 });
      expect(await wanted()).to.equal(2);
      const request = {
        node_id: 'n1',
        name: 'n1',
        epoch: 5,
        version: '1',
        kinds: ['upload'],
        import_roots: [],
        pool_endpoint: null,
        pool_fingerprint: null,
        nbd_endpoint: null,
        held: [],
        instances: [],
      };
      const { limits } = await sync(wired.plane, request, { poke: () => undefined, tokenKey: 'k' });
      expect(limits).to.deep.equal({ bandwidth: 5e6, pools: [{ pool_id: cloud, bandwidth: 2e6 }] });
      expect(await wanted()).to.equal(1);
    });
  });

  it('two thousand jobs on a node with few places go through in order of age', async () => {
    await limit('nodes/n1', { max_jobs: 500 });
    const [block] = [await center.block([pool])];
    const model = await jobOf(
      center,
      (await center.send('POST', `blocks/${block}?action=upload`, { pool_id: cloud })).body['job-id'],
    );
    await center.database.query(
      `INSERT INTO jobs (id, kind, state, node_id, attempt, fence, params, claims, traceparent, created_at)
       SELECT CONCAT('job-', LPAD(seq.n, 26, '0')), 'upload', 'queued', 'n1', 1, 1, '{}', '[]', '', UTC_TIMESTAMP(3) FROM ${numbers(2000)} seq`,
    );
    await center.database.query(
      `INSERT INTO outbox (node_id, type, job_id, attempt, payload, traceparent, status, tries, next_at, created_at)
       SELECT 'n1', 'run', id, 1, '{}', '', 'held', 0, UTC_TIMESTAMP(3), UTC_TIMESTAMP(3) FROM jobs WHERE fence = 1 ORDER BY id`,
    );
    const begun = performance.now();
    const ids = await sent();
    const tookMs = performance.now() - begun;
    console.log(`    500 of 2001 let go and marked as sent: ${tookMs.toFixed(0)} ms`);
    expect(ids).to.have.length(500);
    expect(ids[0]).to.equal(model.id);
    expect(ids.slice(1)).to.deep.equal(ids.slice(1).toSorted());
    expect(await sent()).to.deep.equal([]);
  });
});

/** SQL of a table of the numbers 1 … n. */
function numbers(n: number): string {
  const digit =
    '(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)';
  return `(SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS n FROM ${digit} a, ${digit} b, ${digit} c, ${digit} e HAVING n <= ${n})`;
}
