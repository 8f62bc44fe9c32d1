import { inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { applyEvent } from '../src/ingest/apply-event.ts';
import { actOnOverdue } from '../src/reconcile/overdue.ts';
import { markPresence } from '../src/reconcile/presence.ts';
import { Reconcile } from '../src/reconcile/reconcile.ts';
import { count } from './support/database.ts';
import { event, PROGRESS } from './support/events.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { commit, jobOf, result, tell } from './support/jobs.ts';
import { silent } from './support/plane.ts';
import { relayAll } from './support/relayed.ts';

const AT_NODE = ['dispatched', 'accepted', 'running', 'preparing', 'committing'] as const;

describe('jobs leave a node', function () {
  this.timeout(60_000);
  let center: HttpCenter;
  let local: string;
  let from: string;
  let to: string;
  let reconcile: Reconcile;

  before(async function () {
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.database.query('SELECT 1');
    for (const id of ['n1', 'n2']) await center.addNode(id);
    await center.database.query(`UPDATE nodes SET kinds = '["import","upload","verify","restore","move","copy"]'`);
    local = await center.pool('local', 'n1');
    from = await center.pool('s3');
    to = await center.pool('s3');
    reconcile = new Reconcile({ database: center.database, log: silent }, { poke: () => undefined, nodes: center.deps.nodes });
  });
  after(() => center?.stop());
  beforeEach(async () => {
    await center?.database.query("UPDATE nodes SET state = 'online', last_seen_at = UTC_TIMESTAMP(3)");
  });
  afterEach(async () => {
    await center?.database.query("UPDATE jobs SET state = 'cancelled', deadline_at = NULL");
    await center?.database.query('DELETE FROM claims');
    await center?.database.query("UPDATE outbox SET status = 'done'");
  });

  const shown = async (id: string) => (await center.send('GET', `jobs/${id}`)).body.job;
  const last = async (id: string) => (await shown(id)).history.at(-1).note as string;
  const post = async (path: string, body?: unknown) => {
    const answer = await center.send('POST', path, body);
    expect(answer.status, answer.text).to.be.lessThan(300);
    return answer.body;
  };
  /** A job on n1: the nodes are told apart by which one is online when it is started. */
  const start = async (source = from, target = to) => {
    await center.database.query("UPDATE nodes SET state = 'suspect' WHERE id = 'n2'");
    const block = await center.block([source]);
    const id = (await post(`blocks/${block}?action=upload`, { pool_id: target }))['job-id'] as string;
    await center.database.query("UPDATE nodes SET state = 'online' WHERE id = 'n2'");
    expect((await jobOf(center, id)).node_id).to.equal('n1');
    return id;
  };
  const bring = async (id: string, state: (typeof AT_NODE)[number] | 'paused') => {
    await relayAll(center.database);
    if (state === 'dispatched') return;
    await tell(center, id, 'accepted');
    if (state === 'accepted') return;
    await tell(center, id, 'running');
    await tell(center, id, 'checkpoint');
    if (state === 'running') return;
    if (state === 'paused') {
      await post(`jobs/${id}?action=pause`);
      await relayAll(center.database);
      await tell(center, id, 'paused');
      return;
    }
    await tell(center, id, 'preparing');
    if (state === 'committing') expect(await commit(center, id)).to.equal(true);
  };
  const nodeSeen = (id: string, secondsAgo: number) =>
    center.database.query('UPDATE nodes SET last_seen_at = UTC_TIMESTAMP(3) - INTERVAL ? SECOND WHERE id = ?', [secondsAgo, id]);
  const sent = async (id: string) =>
    (await relayAll(center.database))
      .filter(({ job_id }) => job_id === id)
      .map(({ type, node_id, attempt }) => `${type} ${attempt} ${node_id}`);
  const nodeState = async (id: string) => (await center.send('GET', `nodes/${id}`)).body.node.state;
  /** What the old node still says; the attempt's own numbers. */
  const late = (id: string, type: 'succeeded' | 'checkpoint', node = 'n1') =>
    inTransaction(center.database, (manager) =>
      applyEvent(manager, event(id, 1, 90, type, type === 'succeeded' ? result({ [to]: 'available' }) : PROGRESS, node)),
    );

  describe('that is dead', () => {
    for (const state of AT_NODE) {
      it(`to another one that reaches both ends, from ${state}, without a failure counted`, async () => {
        const id = await start();
        await bring(id, state);
        const before = await jobOf(center, id);
        expect(before.state).to.equal(state);
        await nodeSeen('n1', 40);
        await reconcile.pass();
        expect((await jobOf(center, id)).attempt, 'its lease may still run').to.equal(1);
        await nodeSeen('n1', 70);
        await reconcile.pass();
        const after = await jobOf(center, id);
        expect(after).to.include({ state: 'queued', node_id: 'n2', attempt: 2, event_seq: 0 });
        expect(after.fence).to.be.greaterThan(before.fence);
        expect(await count(center.database, 'jobs WHERE id = ? AND failures = 0', [id])).to.equal(1);
        expect(await last(id)).to.match(
          /Node n1 has not been heard of for \d+ s\. Attempt 2 goes from node n1 \(offline\) to node n2\./,
        );
        expect(await sent(id)).to.deep.equal(['run 2 n2']);
        expect(await late(id, 'succeeded'), 'what the old one says is late, and no poison').to.equal('recorded');
        expect((await jobOf(center, id)).state).to.equal('dispatched');
      });
    }

    it('and the old attempt is not let through to commit, nor taken up again', async () => {
      const id = await start();
      await bring(id, 'preparing');
      const old = await jobOf(center, id);
      await nodeSeen('n1', 70);
      await reconcile.pass();
      const { prepare } = await import('../src/rpc/prepare.ts');
      const ask = (node: string, attempt: number, fence: number) =>
        prepare(center, { job_id: id, attempt, fence, result: result({}) }, node);
      expect((await ask('n1', 1, old.fence)).granted).to.equal(false);
      const now = await jobOf(center, id);
      expect((await ask('n1', 2, now.fence)).granted, 'another node').to.equal(false);
      await relayAll(center.database);
      await tell(center, id, 'running');
      await tell(center, id, 'preparing');
      expect((await ask('n2', 2, now.fence)).granted).to.equal(true);
      expect((await ask('n1', 1, old.fence)).granted).to.equal(false);
      const { verdictOn } = await import('../src/rpc/sync.ts');
      const job = { ...(await jobOf(center, id)), pause_wanted: 0 } as unknown as Parameters<typeof verdictOn>[1];
      expect(verdictOn({ job_id: id, attempt: 1, state: 'preparing' }, job, 'n1')).to.equal('abort');
      expect(verdictOn({ job_id: id, attempt: 1, state: 'finished' }, job, 'n1')).to.equal('forget');
    });

    it('paused, to stay paused elsewhere until it is resumed', async () => {
      const id = await start();
      await bring(id, 'paused');
      await nodeSeen('n1', 70);
      await reconcile.pass();
      expect(await shown(id)).to.include({ state: 'paused', node_id: 'n2', attempt: 2, pause_requested: false });
      expect(await sent(id)).to.deep.equal([]);
      await post(`jobs/${id}?action=resume`);
      expect(await sent(id)).to.deep.equal(['run 2 n2']);
    });

    it('but for a job that only it can do, which waits, says so once, and is told so by its history', async () => {
      const id = await start(local);
      await bring(id, 'running');
      await nodeSeen('n1', 70);
      for (let i = 0; i < 3; i++) {
        await reconcile.pass();
        await center.database.query('UPDATE jobs SET deadline_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND WHERE id = ?', [id]);
      }
      expect(await jobOf(center, id)).to.include({ state: 'running', node_id: 'n1', attempt: 1 });
      const notes = (await shown(id)).history.map(({ note }: { note: string | null }) => note).filter(Boolean);
      expect(notes).to.deep.equal([
        `Node n1 is away; the job goes on when it is back. The job waits for it: only node n1 can do it: pool ${local} lies there.`,
      ]);
      await tell(center, id, 'checkpoint');
      expect((await jobOf(center, id)).state, 'it is back').to.equal('running');
    });

    it('but not while it may be NATS or the center that was away', async () => {
      const id = await start();
      await bring(id, 'running');
      await nodeSeen('n1', 700);
      const just = new Reconcile(
        { database: center.database, log: silent },
        { poke: () => undefined, nodes: center.deps.nodes, isUp: () => true },
      );
      await just.pass();
      expect(await nodeState('n1')).to.equal('suspect');
      await actOnOverdue(center.database, {
        wasHeard: false,
        times: { heartbeatMs: 5000, leaseMs: 30_000, suspectMs: 30_000, offlineMs: 60_000 },
      });
      expect(await jobOf(center, id)).to.include({ node_id: 'n1', attempt: 1 });
    });

    it('and none to a node that is not there, or does not know the kind', async () => {
      const id = await start();
      await bring(id, 'running');
      await center.database.query(`UPDATE nodes SET kinds = '["import"]' WHERE id = 'n2'`);
      await nodeSeen('n1', 70);
      await reconcile.pass();
      expect(await last(id)).to.include('no other node that can do it is online');
      await center.database.query(`UPDATE nodes SET kinds = '["upload"]' WHERE id = 'n2'`);
      await nodeSeen('n2', 45);
      await center.database.query('UPDATE jobs SET deadline_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND WHERE id = ?', [id]);
      await reconcile.pass();
      expect(await jobOf(center, id)).to.include({ node_id: 'n1' });
      await nodeSeen('n2', 0);
      await center.database.query("UPDATE nodes SET state = 'online' WHERE id = 'n2'");
      await center.database.query('UPDATE jobs SET deadline_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND WHERE id = ?', [id]);
      await reconcile.pass();
      expect(await jobOf(center, id)).to.include({ node_id: 'n2', attempt: 2 });
    });
  });

  describe('that is being drained', () => {
    it('at their next checkpoint, on the node’s word, and the node is drained when it has none', async () => {
      const [queued, running, paused, bound] = [await start(), await start(), await start(), await start(local)];
      await bring(running, 'running');
      await bring(paused, 'paused');
      await bring(bound, 'running');
      await center.database.query("UPDATE outbox SET tries = 0, status = 'pending' WHERE job_id = ?", [queued]);
      await center.database.query("UPDATE jobs SET state = 'queued' WHERE id = ?", [queued]);
      const answer = await post('nodes/n1?action=drain');
      expect(answer.node.state).to.equal('draining');
      expect(answer.instances).to.deep.equal([]);
      expect(await shown(queued), 'it never left').to.include({ state: 'queued', node_id: 'n2' });
      const commands = (await relayAll(center.database)).map(({ type, job_id }) => `${type} ${job_id}`);
      expect(commands).to.include.members([`drain ${running}`, `drain ${paused}`, `run ${queued}`]);
      expect(commands).not.to.include(`drain ${bound}`);
      await tell(center, running, 'yielded');
      expect(await shown(running)).to.include({ state: 'queued', node_id: 'n2', attempt: 2 });
      expect(await last(running)).to.equal('Attempt 1 was given back by node n1; the next goes to node n2.');
      expect(await count(center.database, 'jobs WHERE id = ? AND failures = 0', [running])).to.equal(1);
      await tell(center, paused, 'yielded');
      expect(await shown(paused)).to.include({ state: 'paused', node_id: 'n2' });
      await reconcile.pass();
      expect(await nodeState('n1'), 'one is left').to.equal('draining');
      expect((await shown(bound)).state).to.equal('running');
      const stays = `Node n1 is being drained; the job stays and ends there: only node n1 can do it: pool ${local} lies there.`;
      const said = (await shown(bound)).history.filter(({ note }: { note: string | null }) => note === stays);
      expect(said, 'said once').to.have.length(1);
      await tell(center, bound, 'succeeded', result({ [to]: 'available' }));
      await reconcile.pass();
      expect(await nodeState('n1')).to.equal('drained');
      await post('nodes/n1?action=activate');
      expect(await nodeState('n1')).to.equal('online');
    });

    it('and are told so until they answer; activated, the node keeps what it has not given back', async () => {
      const id = await start();
      await bring(id, 'running');
      await post('nodes/n1?action=drain');
      expect(await sent(id)).to.deep.equal(['drain 1 n1']);
      await reconcile.pass();
      expect(await count(center.database, "outbox WHERE job_id = ? AND type = 'drain'", [id]), 'one command').to.equal(1);
      await post('nodes/n1?action=activate');
      expect(await count(center.database, "outbox WHERE job_id = ? AND status = 'pending'", [id])).to.equal(0);
      await tell(center, id, 'yielded');
      expect(await shown(id), 'it was under way; the node takes work again').to.include({
        state: 'queued',
        node_id: 'n1',
        attempt: 2,
      });
    });

    it('or a retry that would begin there begins elsewhere', async () => {
      const id = await start();
      await bring(id, 'running');
      await post('nodes/n1?action=drain');
      await tell(center, id, 'failed');
      expect(await shown(id)).to.include({ state: 'queued', node_id: 'n2', attempt: 2 });
      expect(await last(id)).to.include('the next begins on node n2 in');
    });

    it('and a job that failed there is retried elsewhere, or refused where only it could do it', async () => {
      const [free, bound] = [await start(), await start(local)];
      for (const id of [free, bound]) {
        await bring(id, 'running');
        await tell(center, id, 'failed', { error: { code: 'access_denied', message: 'No.' }, transient: false, progress: null });
      }
      await post('nodes/n1?action=drain');
      const next = (await post(`jobs/${free}?action=retry`))['job-id'];
      expect((await jobOf(center, next)).node_id).to.equal('n2');
      const refused = await center.send('POST', `jobs/${bound}?action=retry`);
      expect([refused.status, refused.body.code], refused.text).to.deep.equal([409, 'node_draining']);
    });

    it('and a node that dies while it is drained loses the rest of them', async () => {
      const id = await start();
      await bring(id, 'running');
      await post('nodes/n1?action=drain');
      await nodeSeen('n1', 70);
      await center.database.query('UPDATE jobs SET deadline_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND WHERE id = ?', [id]);
      await reconcile.pass();
      expect(await shown(id)).to.include({ state: 'queued', node_id: 'n2' });
    });

    it('names its instances', async () => {
      await center.database.query(
        `INSERT INTO cdm_instances (id, name, node_id, state, read_only, created_at) VALUES ('ins-x', 'x', 'n1', 'loaded', 0, UTC_TIMESTAMP(3))`,
      );
      expect((await post('nodes/n1?action=drain')).instances).to.deep.equal(['ins-x']);
    });
  });

  it('a cancel that meets a yield ends as a cancel, once the node has cleaned up', async () => {
    const id = await start();
    await bring(id, 'running');
    await post('nodes/n1?action=drain');
    await post(`jobs/${id}?action=cancel`);
    await tell(center, id, 'yielded');
    expect((await shown(id)).state).to.equal('cancelling');
    expect(await sent(id)).to.deep.equal(['cancel 1 n1']);
    await tell(center, id, 'cancelled');
    expect((await shown(id)).state).to.equal('cancelled');
  });

  it('presence: offline brings its jobs forward, however long their deadlines', async () => {
    const id = await start(local);
    await bring(id, 'running');
    await center.database.query('UPDATE jobs SET deadline_at = UTC_TIMESTAMP(3) + INTERVAL 1 HOUR WHERE id = ?', [id]);
    await nodeSeen('n1', 70);
    await markPresence(center.database);
    expect(await count(center.database, 'jobs WHERE id = ? AND deadline_at <= UTC_TIMESTAMP(3)', [id])).to.equal(1);
  });
});
