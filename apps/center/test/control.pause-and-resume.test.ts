import { expect } from 'chai';
import { actOnOverdue } from '../src/reconcile/overdue.ts';
import { count } from './support/database.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { commit, result, tell } from './support/jobs.ts';
import { relayAll } from './support/relayed.ts';

describe('pause and resume', function () {
  this.timeout(30_000);
  let center: HttpCenter;
  let pool: string;
  let cloud: string;

  before(async function () {
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    pool = await center.pool('local');
    cloud = await center.pool('s3');
  });
  after(() => center?.stop());

  const act = (id: string, action: string) => center.send('POST', `jobs/${id}?action=${action}`);
  const accepted = async (id: string, action: string) => {
    const answer = await act(id, action);
    expect(answer.status, answer.text).to.equal(202);
    expect(answer.headers.get('Location')).to.equal(`/openstore_v1/jobs/${id}`);
  };
  const refused = async (id: string, action: string, code: string) => {
    const answer = await act(id, action);
    expect([answer.status, answer.body.code], answer.text).to.deep.equal([409, code]);
  };
  const shown = async (id: string) => (await center.send('GET', `jobs/${id}`)).body.job;
  const start = async () => {
    const block = await center.block([pool]);
    return (await center.send('POST', `blocks/${block}?action=upload`, { pool_id: cloud })).body['job-id'] as string;
  };
  const running = async () => {
    const id = await start();
    await relayAll(center.database);
    await tell(center, id, 'accepted');
    await tell(center, id, 'running');
    return id;
  };
  const pending = (id: string, type: string) =>
    count(center.database, "outbox WHERE job_id = ? AND type = ? AND status = 'pending'", [id, type]);
  const sent = async (id: string) =>
    (await relayAll(center.database)).filter(({ job_id }) => job_id === id).map(({ type }) => type);
  const overdue = (id: string) =>
    center.database.query('UPDATE jobs SET deadline_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND WHERE id = ?', [id]);

  it('a job whose command never left stands still at once, and goes as the same attempt when it is resumed', async () => {
    const id = await start();
    await accepted(id, 'pause');
    expect(await shown(id)).to.include({ state: 'paused', pause_requested: false, attempt: 1 });
    expect(await sent(id), 'nothing is sent').to.deep.equal([]);
    await accepted(id, 'pause');
    await accepted(id, 'resume');
    expect((await shown(id)).state).to.equal('queued');
    expect(await sent(id)).to.deep.equal(['run']);
    expect(await shown(id)).to.include({ state: 'dispatched', attempt: 1 });
  });

  it('a job at its node is paused on the node’s word alone, and runs again on its word', async () => {
    const id = await running();
    await accepted(id, 'pause');
    expect(await shown(id)).to.include({ state: 'running', pause_requested: true });
    expect(await sent(id)).to.deep.equal(['pause']);
    await tell(center, id, 'checkpoint');
    expect(await pending(id, 'pause'), 'it is told until it answers').to.equal(1);
    await tell(center, id, 'paused');
    expect(await shown(id)).to.include({ state: 'paused', pause_requested: false });
    expect(await pending(id, 'pause')).to.equal(0);
    await accepted(id, 'resume');
    expect((await shown(id)).state, 'until the node says so').to.equal('paused');
    expect(await sent(id)).to.deep.equal(['resume']);
    await tell(center, id, 'running', { resumed: true, at: 'now' });
    expect(await shown(id)).to.include({ state: 'running', attempt: 1 });
    expect(await pending(id, 'resume')).to.equal(0);
  });

  it('a second pause of the same attempt is a new message, which JetStream does not take for the first', async () => {
    const id = await running();
    const tries: number[] = [];
    for (let i = 0; i < 2; i++) {
      await accepted(id, 'pause');
      tries.push(...(await relayAll(center.database)).filter(({ job_id }) => job_id === id).map((one) => one.tries));
      await tell(center, id, 'paused');
      await accepted(id, 'resume');
      await relayAll(center.database);
      await tell(center, id, 'running', { resumed: true, at: 'now' });
    }
    expect(tries).to.deep.equal([1, 2]);
  });

  it('a pause that is taken back before it took effect is told to the node; one that took effect all the same is resumed', async () => {
    const id = await running();
    await accepted(id, 'pause');
    await relayAll(center.database);
    await accepted(id, 'resume');
    expect(await shown(id)).to.include({ state: 'running', pause_requested: false });
    expect([await pending(id, 'pause'), await pending(id, 'resume')]).to.deep.equal([0, 1]);
    await tell(center, id, 'checkpoint');
    expect(await pending(id, 'resume'), 'it goes on').to.equal(0);
    await tell(center, id, 'paused');
    expect((await shown(id)).state).to.equal('paused');
    expect(await pending(id, 'resume')).to.equal(1);
  });

  it('is refused once all data is there, and of a job that has ended', async () => {
    const id = await running();
    await tell(center, id, 'preparing');
    await refused(id, 'pause', 'job_not_pausable');
    expect(await commit(center, id)).to.equal(true);
    await refused(id, 'pause', 'job_not_pausable');
    await tell(center, id, 'succeeded', result({ [cloud]: 'available' }));
    await refused(id, 'pause', 'job_not_pausable');
    await refused(id, 'resume', 'job_not_paused');
    const other = await running();
    await refused(other, 'resume', 'job_not_paused');
    await accepted(other, 'cancel');
    await refused(other, 'pause', 'job_not_pausable');
    expect((await act('job-00000000000000000000000000', 'pause')).status).to.equal(404);
  });

  it('a paused job is cancelled: at once where no node has it, else by its node', async () => {
    const here = await start();
    await accepted(here, 'pause');
    await accepted(here, 'cancel');
    expect((await shown(here)).state).to.equal('cancelled');
    const there = await running();
    await accepted(there, 'pause');
    await relayAll(center.database);
    await tell(center, there, 'paused');
    await accepted(there, 'cancel');
    expect((await shown(there)).state).to.equal('cancelling');
    expect(await sent(there)).to.deep.equal(['cancel']);
    await tell(center, there, 'cancelled');
    expect((await shown(there)).state).to.equal('cancelled');
    expect(await count(center.database, 'claims WHERE job_id = ?', [there])).to.equal(0);
  });

  it('a wish to pause outlives the attempt: the next one waits for a resume', async () => {
    const id = await running();
    await accepted(id, 'pause');
    await tell(center, id, 'failed');
    expect(await shown(id)).to.include({ state: 'paused', attempt: 2 });
    expect(await sent(id)).to.deep.equal([]);
    await accepted(id, 'resume');
    expect(await sent(id)).to.deep.equal(['run']);
  });

  it('a resume that is not answered is told again; a job paused for seven days goes on, and the history says so', async () => {
    const id = await running();
    await accepted(id, 'pause');
    await relayAll(center.database);
    await tell(center, id, 'paused');
    await overdue(id);
    await actOnOverdue(center.database);
    expect((await shown(id)).state, 'not yet').to.equal('paused');
    expect(await pending(id, 'resume')).to.equal(0);
    await center.database.query('UPDATE job_transitions SET at = at - INTERVAL 7 DAY WHERE job_id = ?', [id]);
    await overdue(id);
    await actOnOverdue(center.database);
    expect(await sent(id)).to.deep.equal(['resume']);
    expect((await shown(id)).history.at(-1).note).to.include('paused for 7 days');
    await overdue(id);
    await actOnOverdue(center.database);
    expect(await sent(id), 'again').to.deep.equal(['resume']);
    expect((await shown(id)).state).to.equal('paused');
  });
});
