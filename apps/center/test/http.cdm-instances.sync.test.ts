import type { InstanceReport } from '@openservice/protocol';
import { expect } from 'chai';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { act, load, loaded, remove, report, show } from './support/instances.ts';
import { result, succeed } from './support/jobs.ts';
import { type OwnNats, ownNats } from './support/nats.ts';
import { startCenter, type TestCenter } from './support/plane.ts';
import { StandInNode } from './support/stand-in-node.ts';

describe('sync of instances', function () {
  this.timeout(30_000);
  let http: HttpCenter | null = null;
  let nats: OwnNats | null = null;
  let plane: TestCenter;
  let center: HttpCenter;
  let node: StandInNode;
  let pool: string;

  before(async function () {
    http = await httpCenter();
    nats = http === null ? null : await ownNats();
    if (http === null || nats === null) return this.skip();
    center = http;
    plane = await startCenter(center.database, nats.url);
    // The relay would publish; here only rows are looked at.
    await plane.relay.stop();
    node = await StandInNode.connect('n1', nats.url);
    await node.sync();
    pool = await center.pool('local');
  });
  after(async () => {
    await node?.stop();
    await plane?.stop();
    await nats?.stop();
    await http?.stop();
  });

  const made = async () => {
    const block = await center.block([pool]);
    const id = await loaded(center, { block_id: block });
    return { id, block, says: (more: Partial<InstanceReport> = {}) => report(id, [{ block, pool }], more) };
  };
  const settle = () => center.database.query('UPDATE jobs SET finished_at = finished_at - INTERVAL 1 MINUTE');
  const unknown = async (...instances: InstanceReport[]) => (await node.sync([], instances)).unknown_instances;

  it('keeps what was written last', async () => {
    const a = await made();
    const b = await made();
    expect(await unknown(a.says(), b.says())).to.deep.equal([]);
    for (const { id } of [a, b]) expect((await show(center, id)).disks[0].overlay_bytes).to.equal(4096);
  });

  it('names those that nobody knows, also one of another node', async () => {
    const a = await made();
    await center.addNode('n2');
    const other = await loaded(center, { block_id: a.block, node_id: 'n2' });
    const stranger = `ins-${'0'.repeat(26)}`;
    const told = [a.says(), a.says({ instance_id: other }), a.says({ instance_id: stranger })];
    expect(await unknown(...told)).to.have.members([other, stranger]);
    expect((await show(center, other)).disks[0].overlay_bytes, 'another node says nothing of it').to.equal(0);
    await center.database.query("UPDATE cdm_instances SET state = 'error' WHERE id = ?", [a.id]);
    expect((await center.send('DELETE', `cdm_instances/${a.id}?force=true`)).status).to.equal(200);
    expect(await unknown(a.says())).to.deep.equal([a.id]);
  });

  it('one that the node cannot serve is in error, with its words, until it can', async () => {
    const { id, says } = await made();
    await unknown(says({ state: 'error', message: 'The pool is away.' }));
    expect(await show(center, id)).to.deep.include({
      state: 'error',
      error: { code: 'instance_error', message: 'The pool is away.' },
    });
    await unknown(says({ state: 'error', message: null }));
    expect((await show(center, id)).error.message).to.include('see its log');
    await unknown(says());
    expect(await show(center, id)).to.deep.include({ state: 'loaded', error: null });
  });

  it('one that the node does not hold is lost, but for one that has just been loaded; told of again it is back', async () => {
    const { id, says } = await made();
    await unknown();
    expect((await show(center, id)).state, 'the list may be older').to.equal('loaded');
    await settle();
    await unknown();
    const lost = await show(center, id);
    expect([lost.state, lost.error.code]).to.deep.equal(['error', 'instance_lost']);
    expect(lost.error.message).to.include('remove the instance');
    await unknown(says());
    expect(await show(center, id)).to.deep.include({ state: 'loaded', error: null });
    await settle();
    await succeed(center, (await act(center, id, 'rewind')).jobId, result({}));
    await unknown();
    expect((await show(center, id)).state, 'a rewind takes it away for a moment').to.equal('loaded');
  });

  it('believes the node where a disk is read, but while a job decides', async () => {
    const { id, block, says } = await made();
    const other = await center.pool('local');
    const elsewhere = report(id, [{ block, pool: other }]);
    const readFrom = async () => (await show(center, id)).disks[0].pool_id;
    await unknown(elsewhere);
    expect(await readFrom(), 'the list may be older than the job that just ended').to.equal(pool);
    await settle();
    await unknown(elsewhere);
    expect(await readFrom()).to.equal(other);
    const kept = await center.send('DELETE', `pools/${other}`);
    expect([kept.status, kept.body.code]).to.deep.equal([409, 'block_in_use']);
    const hydrate = await act(center, id, 'hydrate', { pool_id: other });
    await unknown(says());
    expect(await readFrom()).to.equal(other);
    await succeed(center, hydrate.jobId, result({ [other]: 'available' }));
    expect((await center.send('GET', `blocks/${block}`)).body.block.replicas).to.have.length(2);
  });

  it('leaves alone what a job decides', async () => {
    const block = await center.block([pool]);
    const { id: loading, jobId } = await load(center, { block_id: block });
    const { id: removing } = await made();
    const gone = (await remove(center, removing)).jobId;
    await settle();
    await unknown(report(loading, [{ block, pool }], { state: 'error', message: 'Not yet.' }));
    expect((await show(center, loading)).state).to.equal('loading');
    expect((await show(center, removing)).state).to.equal('removing');
    await succeed(center, jobId, result({}));
    await succeed(center, gone, result({}));
    expect((await show(center, loading)).state).to.equal('loaded');
  });

  it('a failure of a job stays with a loaded instance', async () => {
    const { id, says } = await made();
    await center.database.query("UPDATE cdm_instances SET error_code = 'save_failed', error_message = 'x' WHERE id = ?", [id]);
    await unknown(says());
    expect((await show(center, id)).error.code).to.equal('save_failed');
  });
});
