/** Anomalies: each is found, listed with what a person can do, and gone by itself when it has healed. */
import { newId, TransientError } from '@openservice/domain';
import { inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { comparePool } from '../src/anomalies/compare-pool.ts';
import { compareAllSoon, compared, takeDue } from '../src/anomalies/comparison-schedule.ts';
import { noteSync } from '../src/anomalies/from-sync.ts';
import { AnomalyLook, lookAtDatabase } from '../src/anomalies/look.ts';
import { expireFound, type Found, noteFound, replaceFound } from '../src/anomalies/report.ts';
import { bury } from '../src/ingest/dead-letters.ts';
import { count } from './support/database.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';

const never = new AbortController().signal;

describe('anomalies', function () {
  this.timeout(60_000);
  let center: HttpCenter;

  beforeEach(async function () {
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
  });
  afterEach(() => center?.stop());

  interface Listed {
    id: string;
    kind: string;
    resource: string;
    detail: string;
    remedy: string;
  }
  const list = async (query = ''): Promise<Listed[]> => {
    const { status, body } = await center.send('GET', `anomalies${query}`);
    expect(status).to.equal(200);
    return body.anomalies;
  };
  const kinds = async () => (await list()).map(({ kind, resource }) => `${kind} ${resource}`).sort();
  const found = (resource: string): Found => ({ kind: 'dead_letters', resource, detail: 'It is so.', remedy: 'Do this.' });

  describe('the list', () => {
    it('a look replaces what it found before, and nothing of another look', async () => {
      const look = (scope: string, ...resources: string[]) =>
        inTransaction(center.database, (manager) => replaceFound(manager, scope, resources.map(found)));
      expect(await look('one', 'x:1', 'x:2')).to.deep.equal([2, 0]);
      expect(await look('two', 'x:3')).to.deep.equal([1, 0]);
      // Ids of one millisecond are in any order.
      const first = (await list()).find(({ resource }) => resource === 'x:1');
      expect(first).to.include({ kind: 'dead_letters', resource: 'x:1', detail: 'It is so.', remedy: 'Do this.' });
      expect(await look('one', 'x:2', 'x:4')).to.deep.equal([1, 1]);
      expect(await kinds()).to.deep.equal(['dead_letters x:2', 'dead_letters x:3', 'dead_letters x:4']);
      const events = await center.database.query("SELECT type FROM events WHERE type LIKE 'anomaly.%' ORDER BY id");
      expect(events.map(({ type }: { type: string }) => type.slice(8))).to.deep.equal([
        'found',
        'found',
        'found',
        'found',
        'healed',
      ]);
    });

    it('one that is dismissed is not listed until it has healed and comes again', async () => {
      const look = (...resources: string[]) =>
        inTransaction(center.database, (manager) => replaceFound(manager, 'one', resources.map(found)));
      await look('x:1', 'x:2');
      const first = (await list()).find(({ resource }) => resource === 'x:1');
      expect((await center.send('DELETE', `anomalies/${first!.id}`)).status).to.equal(200);
      await look('x:1', 'x:2');
      expect(await kinds()).to.deep.equal(['dead_letters x:2']);
      expect((await list('?dismissed=true')).map(({ resource }) => resource)).to.deep.equal(['x:1']);
      await look('x:2');
      await look('x:1', 'x:2');
      expect(await kinds()).to.have.length(2);
      const unknown = await center.send('DELETE', `anomalies/${newId('anomaly')}`);
      expect([unknown.status, unknown.body.code]).to.deep.equal([404, 'anomaly_not_found']);
    });

    it('what is seen in passing stays for a time after it was seen last', async () => {
      const note = (ms: number) => inTransaction(center.database, (manager) => noteFound(manager, 'one', found('x:1'), ms));
      const expire = () => inTransaction(center.database, (manager) => expireFound(manager));
      await note(-1_000);
      await note(60_000);
      await expire();
      expect(await kinds()).to.have.length(1);
      await note(-1_000);
      await expire();
      expect(await kinds()).to.have.length(0);
    });
  });

  describe('a pool and the center', () => {
    /** What the pool holds. */
    let holds: Set<string>;
    let pool: string;

    beforeEach(async () => {
      await center.addNode('n1');
      pool = await center.pool('local');
      holds = new Set();
      center.nodes.answers.pool_blocks = () => {
        const { after, ids, limit } = center.nodes.calls.at(-1)!.request as {
          after: string;
          ids: string[] | null;
          limit: number;
        };
        const all = [...holds].sort().filter((id) => (ids === null ? id > after : ids.includes(id)));
        const blocks = all.slice(0, limit).map((id) => ({ id, state: 'committed' }));
        return { blocks, more: all.length > limit };
      };
    });

    it('agree on blocks that both have, and on those that a job is at', async () => {
      const block = await center.block([pool]);
      const [going, coming] = [await center.block([pool]), await center.block([pool])];
      await center.database.query("UPDATE replicas SET state = 'deleting' WHERE block_id = ?", [going]);
      await center.database.query("UPDATE replicas SET state = 'creating' WHERE block_id = ?", [coming]);
      holds.add(block).add(coming);
      expect(await comparePool(center.deps, pool, never)).to.equal(0);
      expect(center.nodes.calls.at(-1)).to.include({ nodeId: 'n1', method: 'pool_blocks' });
    });

    it('a block that only the pool has, and one that only the center has, are listed with the remedy, and heal', async () => {
      const missing = await center.block([pool]);
      const unknown = newId('block');
      holds.add(unknown);
      expect(await comparePool(center.deps, pool, never)).to.equal(2);
      expect(await kinds()).to.deep.equal([
        `missing_replica pool:${pool}/block:${missing}`,
        `unknown_block pool:${pool}/block:${unknown}`,
      ]);
      const remedies = (await list()).map(({ remedy }) => remedy).join(' ');
      expect(remedies)
        .to.include(`POST /pools/${pool}?action=rebuild`)
        .and.to.include(`DELETE /blocks/${missing}?pool_id=${pool}`);
      holds.delete(unknown);
      holds.add(missing);
      await comparePool(center.deps, pool, never);
      expect(await kinds()).to.deep.equal([]);
    });

    it("of a pool behind another center, that one's blocks are nobody's to list; of one that was deleted, nothing is", async () => {
      holds.add(newId('block'));
      await center.database.query("UPDATE pools SET type = 'remote', node_id = NULL, host = 'far', port = 1 WHERE id = ?", [
        pool,
      ]);
      const missing = await center.block([pool]);
      expect(await comparePool(center.deps, pool, never)).to.equal(1);
      expect(await kinds()).to.deep.equal([`missing_replica pool:${pool}/block:${missing}`]);
      await center.database.query('DELETE FROM pools');
      await lookAtDatabase(center.database);
      expect(await kinds()).to.deep.equal([]);
    });

    it('a stop does not wait for a pool that is listed', async () => {
      const stop = new AbortController();
      center.nodes.answers.pool_blocks = () => new Promise(() => stop.abort(new Error('stops')));
      expect(await comparePool(center.deps, pool, stop.signal).catch((error: Error) => error.message)).to.equal('stops');
    });

    it('what only changes while it is looked at is not listed', async () => {
      const removed = await center.block([pool]);
      const [committed, kept] = [newId('block'), newId('block')];
      holds.add(kept);
      const answer = center.nodes.answers.pool_blocks;
      // Listed without the one, and with the other; by the second look the center has moved on.
      center.nodes.answers.pool_blocks = () => {
        const { ids } = center.nodes.calls.at(-1)!.request as { ids: string[] | null };
        if (ids !== null) return answer();
        const reply = answer();
        holds.delete(kept);
        holds.add(committed);
        return reply;
      };
      const { database } = center;
      const query = database.query.bind(database);
      const compared = comparePool(
        {
          ...center.deps,
          nodes: {
            call: async (...args: Parameters<typeof center.deps.nodes.call>) => {
              const reply = await center.deps.nodes.call(...args);
              await query("UPDATE replicas SET state = 'deleting' WHERE block_id = ?", [removed]);
              return reply;
            },
          } as never,
        },
        pool,
        never,
      );
      expect(await compared).to.equal(0);
    });

    it('a pool of thousands is compared page by page', async () => {
      const ids = Array.from({ length: 2_500 }, () => newId('block'));
      for (const id of ids) holds.add(id);
      const rows = ids.slice(3).map((id) => `('${id}', '${pool}', 'available', UTC_TIMESTAMP(3))`);
      await center.database.query(`INSERT INTO replicas (block_id, pool_id, state, created_at) VALUES ${rows.join(', ')}`);
      expect(await comparePool(center.deps, pool, never)).to.equal(3);
      const pages = center.nodes.calls.filter(({ request }) => (request as { ids?: unknown }).ids === null);
      expect(pages).to.have.length(3);
      // Those that were listed once and cannot be listed now stay.
      center.nodes.away('pool_blocks');
      await comparePool(center.deps, pool, never).catch((error) => expect(error).to.be.instanceOf(TransientError));
      expect(await kinds()).to.have.length(3);
    });

    it('each pool is taken by one center, again after an hour, at once when asked for, soon when it could not be done', async () => {
      const { database } = center;
      expect(await takeDue(database), 'a new pool waits a minute').to.equal(null);
      expect((await center.send('POST', 'anomalies?action=compare', {})).status).to.equal(200);
      const taken = await Promise.all([takeDue(database), takeDue(database)]);
      expect(taken.filter((one) => one !== null)).to.deep.equal([pool]);
      const minutes = async () => {
        const [row] = await database.query(
          'SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(3), next_at) / 60 AS m FROM pool_comparisons WHERE pool_id = ?',
          [pool],
        );
        return Math.round(Number(row.m));
      };
      await compared(database, pool, false);
      expect(await minutes()).to.equal(1);
      await compareAllSoon(database, pool);
      expect(await takeDue(database)).to.equal(pool);
      await compared(database, pool, true);
      expect(await minutes()).to.equal(60);
      const nobody = await center.send('POST', 'anomalies?action=compare', { pool_id: newId('pool') });
      expect([nobody.status, nobody.body.code]).to.deep.equal([404, 'pool_not_found']);
    });

    it('the look compares what is due', async () => {
      holds.add(newId('block'));
      await compareAllSoon(center.database);
      await new AnomalyLook(center.deps).pass();
      expect((await list()).map(({ kind }) => kind)).to.deep.equal(['unknown_block']);
    });
  });

  it('dead letters, webhooks that fail and lost instances are listed, and heal', async () => {
    const { database } = center;
    await bury(database, 'openservice.v1.evt.n1.job-1.running', 'It is not JSON.', Buffer.from('x'));
    await center.send('PUT', 'webhooks', { name: 'failing', url: 'http://127.0.0.1:1/' });
    await center.send('PUT', 'webhooks', { name: 'well', url: 'http://127.0.0.1:1/' });
    await database.query("UPDATE webhooks SET state = 'failing', error_message = 'It answered 500.' WHERE name = 'failing'");
    await database.query(
      `INSERT INTO cdm_instances (id, name, node_id, state, read_only, error_code, error_message, created_at)
       VALUES ('ins-1', 'i', 'n1', 'error', 0, 'instance_lost', 'Gone.', UTC_TIMESTAMP(3))`,
    );
    await lookAtDatabase(database);
    const all = await list();
    expect(all.map(({ kind }) => kind).sort()).to.deep.equal(['dead_letters', 'lost_instance', 'webhook_failing']);
    expect((await center.send('GET', '/metrics')).text).to.include('openservice_anomalies{kind="lost_instance"} 1');
    expect(all.find(({ kind }) => kind === 'webhook_failing')!.detail)
      .to.include('"failing"')
      .and.to.include('It answered 500.');
    await database.query('DELETE FROM dead_letters');
    await database.query("UPDATE webhooks SET state = 'active'");
    await database.query('DELETE FROM cdm_instances');
    await lookAtDatabase(database);
    expect(await kinds()).to.deep.equal([]);
  });

  it('what a sync shows: instances and jobs that nobody knows, a clock that is off', async () => {
    const held = [
      { job_id: newId('job'), attempt: 1, state: 'running' as const },
      { job_id: newId('job'), attempt: 1, state: 'finished' as const },
      { job_id: newId('job'), attempt: 1, state: 'running' as const },
    ];
    await center.addNode('n1');
    const pool = await center.pool('local');
    const request = {
      node_id: 'n1',
      name: 'n1',
      epoch: 1,
      version: '1',
      kinds: [],
      import_roots: [],
      pool_endpoint: null,
      pool_fingerprint: null,
      nbd_endpoint: null,
      held,
      instances: [],
      sent_at: new Date(Date.now() - 60_000).toISOString(),
    };
    const known = new Map([[held[2]!.job_id, {}]]);
    await noteSync({ database: center.database, log: center.deps.log as never }, request, known, ['ins-9']);
    expect(await kinds()).to.deep.equal([
      'clock_off node:n1',
      'unknown_instance node:n1/instance:ins-9',
      ...[`unknown_job node:n1/job:${held[0]!.job_id}`, `unknown_job node:n1/job:${held[1]!.job_id}`].sort(),
    ]);
    expect((await list('?kind=clock_off'))[0]!.detail).to.match(/ 60 s behind /);
    expect(await takeDue(center.database), 'what those jobs have made is looked for at once').to.equal(pool);
    await noteSync(
      { database: center.database, log: center.deps.log as never },
      { ...request, held: [], sent_at: new Date().toISOString() },
      known,
      [],
    );
    expect((await list()).map(({ kind }) => kind)).to.deep.equal(['unknown_job', 'unknown_job']);
    expect(await count(center.database, 'anomalies WHERE expires_at IS NOT NULL')).to.equal(2);
  });
});
