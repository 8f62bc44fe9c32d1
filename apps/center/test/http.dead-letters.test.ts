import { evtSubject } from '@openservice/protocol';
import { expect } from 'chai';
import { bury } from '../src/ingest/dead-letters.ts';
import { event } from './support/events.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { jobOf } from './support/jobs.ts';
import { relayAll } from './support/relayed.ts';

describe('dead letters', function () {
  this.timeout(30_000);
  let center: HttpCenter;
  let pool: string;

  before(async function () {
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    pool = await center.pool('local');
  });
  after(() => center?.stop());
  beforeEach(() => center?.database.query('DELETE FROM dead_letters'));

  const put = async (subject: string, body: unknown, reason = 'It was too new.') => {
    await bury(center.database, subject, reason, Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));
    const [row] = await center.database.query<{ id: string }[]>('SELECT MAX(id) AS id FROM dead_letters');
    return String(row?.id);
  };
  const redrive = async (id: string) => {
    const answer = await center.send('POST', `dead_letters/${id}?action=redrive`);
    expect(answer.status, answer.text).to.equal(200);
    return answer.body;
  };
  const dispatched = async () => {
    const block = await center.block([pool]);
    const id = (await center.send('POST', `blocks/${block}?action=verify`)).body['job-id'] as string;
    await relayAll(center.database);
    return id;
  };

  it('are listed by pages, either way, and without those that were taken', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push(await put(`s.${i}`, `{"n":${i}}`));
    const first = (await center.send('GET', 'dead_letters?limit=2')).body;
    expect(first.dead_letters[0]).to.include({
      id: ids[0],
      subject: 's.0',
      reason: 'It was too new.',
      body: '{"n":0}',
      outcome: null,
    });
    const seen = [...first.dead_letters];
    for (let marker = first.next_marker; marker !== null; ) {
      const next = (await center.send('GET', `dead_letters?limit=2&marker=${marker}`)).body;
      seen.push(...next.dead_letters);
      marker = next.next_marker;
    }
    expect(seen.map(({ id }) => id)).to.deep.equal(ids);
    const newest = (await center.send('GET', 'dead_letters?sort=-id&limit=1')).body;
    expect(newest.dead_letters[0].id).to.equal(ids[4]);
    expect((await center.send('GET', `dead_letters?sort=-id&marker=${newest.next_marker}`)).body.dead_letters).to.have.length(4);
    for (const query of ['limit=0', 'sort=name', 'marker=x', 'redriven=maybe', 'kind=x']) {
      expect((await center.send('GET', `dead_letters?${query}`)).status, query).to.equal(422);
    }
  });

  it('a redriven one is taken as if it had come again; once more, it is known', async () => {
    const job = await dispatched();
    const id = await put(evtSubject('n1', job, 'running'), event(job, 1, 2, 'running'));
    const first = await redrive(id);
    expect(first.outcome).to.equal('applied');
    expect(first.dead_letter).to.include({ id, outcome: 'applied' });
    expect((await jobOf(center, job)).state).to.equal('running');
    expect((await redrive(id)).outcome).to.equal('duplicate');
    expect((await center.send('GET', 'dead_letters?redriven=false')).body.dead_letters).to.deep.equal([]);
    expect((await center.send('GET', 'dead_letters?redriven=true')).body.dead_letters).to.have.length(1);
  });

  it('one that comes too late says so; one that is still poison stays, with its reason', async () => {
    const job = await dispatched();
    const late = await put(evtSubject('n1', job, 'running'), event(job, 1, 2, 'running'));
    await center.send('POST', `jobs/${job}?action=cancel`);
    await redrive(await put(evtSubject('n1', job, 'cancelled'), event(job, 1, 3, 'cancelled')));
    expect((await redrive(late)).outcome).to.equal('recorded');
    for (const [subject, body, reason] of [
      ['openservice.v1.evt.n1.x.running', 'no json', /not JSON/],
      [evtSubject('n1', job, 'odd'), { ...event(job, 1, 9, 'running'), type: 'odd' }, /not a valid event/],
      [evtSubject('n2', job, 'running'), event(job, 1, 9, 'running'), /not that of its subject/],
      [evtSubject('n2', job, 'running'), event(job, 1, 9, 'running', undefined, 'n2'), /may not speak for it/],
    ] as const) {
      const id = await put(subject, body, '?');
      const { outcome, dead_letter } = await redrive(id);
      expect(outcome).to.equal('refused');
      expect(dead_letter.reason).to.match(reason);
      expect(
        (await center.send('GET', 'dead_letters?redriven=false')).body.dead_letters.map((one: { id: string }) => one.id),
      ).to.include(id);
    }
  });

  it('are dropped, and an id of none is not found', async () => {
    const id = await put('s', 'x');
    const operator = { Authorization: `Bearer ${await center.tokenFor('viewer')}` };
    expect((await center.send('DELETE', `dead_letters/${id}`, undefined, operator)).status).to.equal(403);
    expect((await center.send('DELETE', `dead_letters/${id}`)).body).to.deep.equal({ 'dead-letter-id': id });
    for (const [method, path] of [
      ['DELETE', `dead_letters/${id}`],
      ['POST', `dead_letters/${id}?action=redrive`],
      ['DELETE', 'dead_letters/0'],
      ['DELETE', 'dead_letters/abc'],
    ] as const) {
      const answer = await center.send(method, path);
      expect([answer.status, answer.body.code], path).to.deep.equal([404, 'dead_letter_not_found']);
    }
    expect((await center.send('POST', `dead_letters/${id}?action=drop`)).status).to.equal(422);
  });
});
