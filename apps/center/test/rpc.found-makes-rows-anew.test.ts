/** `rebuild`, the center's half: rows that are made of what a pool was found to hold. */
import { newId } from '@openservice/domain';
import { type CenterRequest, callCenter, newTraceparent } from '@openservice/runtime';
import { type DataSource, inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { submitJob } from '../src/jobs/submit-job.ts';
import { addBlock, addPool, count, DIGEST, type OwnDatabase, ownDatabase, SIZE } from './support/database.ts';
import { type OwnNats, ownNats } from './support/nats.ts';
import { startCenter, type TestCenter } from './support/plane.ts';
import { StandInNode } from './support/stand-in-node.ts';

type Found = CenterRequest<'found'>['blocks'][number];
type Meta = NonNullable<Found['meta']>;

describe('rpc: found', function () {
  this.timeout(30_000);
  let own: OwnDatabase | null = null;
  let nats: OwnNats | null = null;
  let database: DataSource;
  let center: TestCenter;
  let node: StandInNode;
  let pool: string;
  let job: string;

  before(async function () {
    own = await ownDatabase();
    nats = own === null ? null : await ownNats();
    if (own === null || nats === null) return this.skip();
    database = own.database;
    center = await startCenter(database, nats.url);
    await center.relay.stop();
    node = await StandInNode.connect('n1', nats.url);
  });
  after(async () => {
    await node?.stop();
    await center?.stop();
    await nats?.stop();
    await own?.drop();
  });
  beforeEach(async () => {
    pool = await addPool(database);
    job = newId('job');
    await inTransaction(database, (manager) =>
      submitJob(
        manager,
        {
          kind: 'rebuild',
          nodeId: 'n1',
          blockId: null,
          setId: null,
          params: { pool_id: pool },
          claims: [{ resource: `pool:${pool}`, mode: 'exclusive' }],
          bytesTotal: 0,
          tokenId: null,
          traceparent: newTraceparent(),
        },
        { jobId: job },
      ),
    );
  });

  const meta = (more: Partial<Meta> = {}): Meta => ({
    name: 'web-1',
    set_id: null,
    set_name: null,
    parent_block_id: null,
    created_at: '2026-05-01T10:00:00.000Z',
    ...more,
  });
  const block = (more: Partial<Found> = {}): Found => ({
    id: newId('block'),
    size: SIZE,
    chunk_size: 1_048_576,
    root_digest: DIGEST,
    stored_bytes: 700,
    trashed: false,
    meta: meta(),
    ...more,
  });
  const tell = (blocks: Found[], more: Partial<CenterRequest<'found'>> = {}, as = node) =>
    callCenter(as.nc, as.id, 'found', { job_id: job, attempt: 1, pool_id: pool, blocks, ...more }, { timeoutMs: 5000 });
  const row = async (id: string) => (await database.query('SELECT * FROM blocks WHERE id = ?', [id]))[0];
  const replica = async (id: string) =>
    (await database.query('SELECT * FROM replicas WHERE block_id = ? AND pool_id = ?', [id, pool]))[0];
  const counters = async () => {
    const [of] = await database.query('SELECT stored_bytes, logical_bytes, block_count FROM pools WHERE id = ?', [pool]);
    return [of.stored_bytes, of.logical_bytes, of.block_count].map(Number);
  };
  const setCount = async (id: string) =>
    (await database.query('SELECT block_count FROM sets WHERE id = ?', [id]))[0]?.block_count;

  it('takes what a stranger wrote into a pool for what it may be, and does not fail over the rest', async () => {
    const odd = [
      block({ meta: meta({ name: 'a\u0000b\u001b[31m\ud800 ', set_name: '\n', created_at: '+275760-09-13T00:00:00.000Z' }) }),
      block({ meta: meta({ name: '\r\n\t', created_at: '-271821-04-20T00:00:00.000Z' }) }),
      block({ meta: meta({ name: '\u{1f600}'.repeat(300) }) }),
    ];
    const refused = [
      block({ chunk_size: 1, size: 2 ** 46 }),
      block({ chunk_size: 2 ** 40 }),
      block({ size: Number.MAX_SAFE_INTEGER }),
      block({ stored_bytes: Number.MAX_SAFE_INTEGER }),
      block({ id: '../../etc/passwd' }),
    ];
    const before = Date.now();
    const { added, conflicts } = await tell([...odd, ...refused]);
    expect([added, conflicts.length]).to.deep.equal([odd.length, refused.length]);
    expect((await row(odd[0]!.id)).name).to.equal('a b [31m\ufffd');
    expect((await row(odd[0]!.id)).created_at.getTime()).to.be.at.least(before - 1000);
    expect((await row(odd[1]!.id)).name).to.equal(`recovered ${odd[1]!.id}`);
    expect((await row(odd[1]!.id)).created_at.getTime()).to.be.at.least(before - 1000);
    expect((await row(odd[2]!.id)).name).to.match(/^\u{1f600}+\ufffd$/u);
    for (const { id } of refused) expect(await row(id), id).to.equal(undefined);
  });

  it('adds block, replica and counters, once however often it is told', async () => {
    const parent = newId('block');
    const blocks = [block({ meta: meta({ parent_block_id: parent }) }), block({ size: 5, stored_bytes: 3, meta: null })];
    expect(await tell(blocks)).to.deep.equal({ added: 2, known: 0, conflicts: [] });
    expect(await tell(blocks)).to.deep.equal({ added: 0, known: 2, conflicts: [] });
    expect(await row(blocks[0]!.id)).to.deep.include({
      name: 'web-1',
      state: 'available',
      root_digest: DIGEST,
      parent_block_id: parent,
      set_id: null,
      purge_at: null,
      created_at: new Date('2026-05-01T10:00:00.000Z'),
    });
    expect((await row(blocks[1]!.id)).name).to.equal(`recovered ${blocks[1]!.id}`);
    expect(await replica(blocks[0]!.id)).to.include({ state: 'available', verified_at: null });
    expect(await counters()).to.deep.equal([703, SIZE + 5, 2]);
  });

  it('puts blocks into their sets, by id or by name, made where they lack', async () => {
    const [known, lost] = [newId('set'), newId('set')];
    const name = `nightly ${known}`;
    await database.query("INSERT INTO sets VALUES (?, ?, '', '{}', 4, UTC_TIMESTAMP(3))", [known, name]);
    const ids = { known: meta({ set_id: known, set_name: 'renamed since' }), lost: meta({ set_id: lost, set_name: 'lost' }) };
    const named = [meta({ set_name: name }), meta({ set_name: `fresh ${known}` }), meta({ set_name: `fresh ${known}` })];
    const blocks = [ids.known, ids.lost, ids.lost, ...named].map((one) => block({ meta: one }));
    await tell(blocks);
    await tell(blocks);
    expect([await setCount(known), await setCount(lost)]).to.deep.equal([6, 2]);
    const sets = await Promise.all(blocks.map(async ({ id }) => (await row(id)).set_id));
    expect(sets.slice(0, 4)).to.deep.equal([known, lost, lost, known]);
    expect(sets[4]).to.match(/^set-/).and.equal(sets[5]);
    expect(await setCount(sets[4])).to.equal(2);
    expect((await database.query('SELECT name FROM sets WHERE id = ?', [lost]))[0].name).to.equal('lost');
  });

  it('brings back what was in the trash as such, with a whole window left, and not counted in its set', async () => {
    const set = newId('set');
    const one = block({ trashed: true, meta: meta({ set_id: set, set_name: 'with trash' }) });
    expect((await tell([one])).added).to.equal(1);
    const { state, purge_at } = await row(one.id);
    expect(state).to.equal('trashed');
    expect(purge_at.getTime() - Date.now()).to.be.closeTo(7 * 24 * 3600_000, 60_000);
    expect((await replica(one.id)).state).to.equal('trashed');
    expect(await setCount(set)).to.equal(0);
    expect(await tell([one])).to.include({ added: 0, known: 1 });
  });

  it('adds a replica to a block that is known elsewhere, and heals one that had none', async () => {
    const elsewhere = await addBlock(database, await addPool(database));
    const lost = await addBlock(database, pool);
    await database.query('DELETE FROM replicas WHERE block_id = ?', [lost]);
    await database.query("UPDATE blocks SET state = 'error', error_code = 'replica_lost' WHERE id = ?", [lost]);
    const before = await counters();
    expect(await tell([block({ id: elsewhere }), block({ id: lost })])).to.deep.equal({ added: 2, known: 0, conflicts: [] });
    expect(await row(lost)).to.include({ state: 'available', error_code: null });
    expect((await replica(elsewhere)).state).to.equal('available');
    expect(await counters()).to.deep.equal([before[0]! + 1400, before[1]! + 2 * SIZE, before[2]! + 2]);
  });

  it('leaves alone, and says so, what the center knows otherwise', async () => {
    const of = async (state: string, replicaState = 'available') => {
      const id = await addBlock(database, pool);
      await database.query('UPDATE blocks SET state = ? WHERE id = ?', [state, id]);
      await database.query('UPDATE replicas SET state = ? WHERE block_id = ?', [replicaState, id]);
      return id;
    };
    const cases: [Found, string][] = [
      [block({ id: await of('available'), root_digest: 'cd'.repeat(32) }), 'other content'],
      [block({ id: await of('available'), size: SIZE + 1 }), 'other content'],
      [block({ id: await of('deleting', 'deleting') }), 'being deleted'],
      [block({ id: await of('creating', 'creating') }), 'being created'],
      [block({ id: await of('available', 'deleting') }), 'is deleting in the pool'],
      [block({ id: await of('trashed', 'trashed') }), 'in the trash for the center'],
      [block({ id: await of('available'), trashed: true }), "in the pool's trash"],
      [block({ id: '../../etc' }), 'no id of a block'],
      [block({ root_digest: 'x' }), 'root digest'],
    ];
    const before = [
      await counters(),
      await database.query('SELECT * FROM blocks ORDER BY id'),
      await database.query('SELECT * FROM replicas ORDER BY block_id'),
    ];
    for (const [found, words] of cases) {
      const reply = await tell([found]);
      expect([reply.added, reply.known, reply.conflicts.length], words).to.deep.equal([0, 0, 1]);
      expect(reply.conflicts[0]).to.include(words).and.match(/\.$/);
    }
    const after = [
      await counters(),
      await database.query('SELECT * FROM blocks ORDER BY id'),
      await database.query('SELECT * FROM replicas ORDER BY block_id'),
    ];
    expect(after).to.deep.equal(before);
  });

  it('is taken of the current attempt of a rebuild of that pool alone, and of its node', async () => {
    const refused = async (work: Promise<unknown>) =>
      expect(await work.catch((error: { code: string; outcome: string }) => error)).to.include({
        code: 'attempt_void',
        outcome: 'permanent',
      });
    const one = block();
    await refused(tell([one], { attempt: 2 }));
    await refused(tell([one], { job_id: newId('job') }));
    await refused(tell([one], { pool_id: await addPool(database) }));
    const other = await StandInNode.connect('n2', nats!.url);
    try {
      await refused(tell([one], {}, other));
    } finally {
      await other.stop();
    }
    for (const state of ['cancelling', 'cancelled', 'failed', 'succeeded']) {
      await database.query('UPDATE jobs SET state = ? WHERE id = ?', [state, job]);
      await refused(tell([one]));
    }
    expect(await count(database, 'blocks WHERE id = ?', [one.id])).to.equal(0);
  });

  it('counts right when the same batch comes twice at once', async () => {
    const set = newId('set');
    const blocks = Array.from({ length: 20 }, () => block({ meta: meta({ set_id: set, set_name: 'both' }) }));
    const replies = await Promise.all([tell(blocks), tell(blocks.toReversed())]);
    expect(replies.map((reply) => reply.added).toSorted((a, b) => a - b)).to.deep.equal([0, 20]);
    expect(await setCount(set)).to.equal(20);
    expect(await counters()).to.deep.equal([20 * 700, 20 * SIZE, 20]);
  });
});
