/** Webhooks: signed, in order, at least once, whatever the receiver or a center does. */
import { createHmac, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { recordEvent } from '../src/events/record.ts';
import { Courier } from '../src/webhooks/courier.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { Receiver } from './support/receiver.ts';
import { until } from './support/until.ts';

describe('webhooks', function () {
  this.timeout(60_000);
  let center: HttpCenter;
  let receiver: Receiver;
  let courier: Courier;
  const couriers: Courier[] = [];

  beforeEach(async function () {
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    receiver = await Receiver.start();
    courier = newCourier();
  });
  afterEach(async () => {
    await Promise.all(couriers.splice(0).map((one) => one.stop()));
    await receiver?.stop();
    await center?.stop();
  });

  function newCourier(tryMs = 5_000): Courier {
    const { database, secrets, log } = center.deps;
    const made = new Courier({ database, secrets, log, tail: center.events, tryMs });
    couriers.push(made);
    return made;
  }

  async function create(more: Record<string, unknown> = {}): Promise<string> {
    const { status, body, text } = await center.send('PUT', 'webhooks', { name: randomUUID(), url: receiver.url, ...more });
    expect(status, text).to.equal(201);
    return body['webhook-id'];
  }

  async function write(...types: string[]): Promise<void> {
    for (const type of types) await inTransaction(center.database, (manager) => recordEvent(manager, { type, data: {} }));
    await center.events.pass();
  }

  /** One look at what is due, and the deliveries that come of it. */
  async function deliver(by = courier): Promise<void> {
    await by.pass();
    await by.settled();
  }

  const deliveries = async (id: string) => (await center.send('GET', `webhooks/${id}/deliveries`)).body.deliveries;
  const makeDue = () => center.database.query('UPDATE webhook_deliveries SET next_at = UTC_TIMESTAMP(3)');

  it('keep their secret: made here it is told once, given it is never told, and it is sealed', async () => {
    const made = await center.send('PUT', 'webhooks', { name: 'made', url: receiver.url });
    const secret = made.body.secret;
    expect(secret).to.have.length(43);
    const given = await center.send('PUT', 'webhooks', { name: 'given', url: receiver.url, secret: 'sixteen letters.' });
    expect(given.body).to.have.all.keys('webhook-id');
    const kept = await center.send('PUT', 'webhooks', { name: 'kept', url: receiver.url }, { 'Idempotency-Key': 'k' });
    expect([kept.status, kept.body.code]).to.deep.equal([422, 'invalid_request']);
    const shown = [
      await center.send('GET', 'webhooks'),
      await center.send('GET', `webhooks/${made.body['webhook-id']}`),
      await center.send('GET', `webhooks/${given.body['webhook-id']}`),
    ];
    const stored = JSON.stringify([
      await center.database.query('SELECT * FROM webhooks'),
      await center.database.query('SELECT * FROM audit'),
    ]);
    for (const text of [...shown.map((answer) => answer.text), stored]) {
      expect(text).not.to.include(secret);
      expect(text).not.to.include('sixteen letters.');
    }
  });

  it('are signed over time and body, and carry what the stream shows', async () => {
    const id = await create({ secret: 'a secret of ours', types: ['test'] });
    await write('test.one', 'other.one');
    await deliver();
    expect(receiver.types()).to.deep.equal(['test.one']);
    const [{ headers, body }] = receiver.received as [(typeof receiver.received)[number]];
    const [, t, v1] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers['x-openservice-signature']))!;
    expect(v1).to.equal(createHmac('sha256', 'a secret of ours').update(`${t}.${body}`).digest('hex'));
    expect(Math.abs(Number(t) - Date.now() / 1000)).to.be.lessThan(30);
    const event = JSON.parse(body);
    expect(event).to.include({ type: 'test.one', job_id: null });
    expect(headers).to.include({
      'content-type': 'application/json',
      'x-openservice-event': 'test.one',
      'x-openservice-delivery': `${id}/${event.id}`,
    });
    expect((await deliveries(id))[0]).to.include({ state: 'delivered', tries: 1, status: 200, event_id: event.id });
  });

  it('the check that the documentation gives takes what was sent, and nothing that was changed or kept', async () => {
    const docs = await readFile(new URL('../../../docs/events.md', import.meta.url), 'utf8');
    const code = /```js\n([\s\S]*?)```/.exec(docs)![1]!;
    const { isOurs } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
    await create({ secret: 'a secret of ours' });
    await write('test.one');
    await deliver();
    const [{ headers, body }] = receiver.received as [(typeof receiver.received)[number]];
    const header = String(headers['x-openservice-signature']);
    expect(isOurs('a secret of ours', header, body)).to.equal(true);
    expect(isOurs('another secret..', header, body)).to.equal(false);
    expect(isOurs('a secret of ours', header, `${body} `)).to.equal(false);
    expect(isOurs('a secret of ours', header.replace(/t=\d+/, 't=1'), body)).to.equal(false);
    expect(isOurs('a secret of ours', header, body, -60), 'too old').to.equal(false);
  });

  it('come in order: those behind one that failed wait for it, and it is tried again later and later', async () => {
    const id = await create();
    await write('test.one', 'test.two', 'test.three');
    receiver.answer = (response) => {
      response.statusCode = 500;
      response.end('out  of\norder');
    };
    await deliver();
    await deliver();
    expect(receiver.types(), 'it is not due yet').to.deep.equal(['test.one']);
    const { webhook } = (await center.send('GET', `webhooks/${id}`)).body;
    expect(webhook).to.include({ state: 'failing', error: 'It answered 500. It said: out of order', pending: 3, failed: 0 });
    for (let tries = 2; tries <= 4; tries++) {
      await makeDue();
      await deliver();
    }
    const [head] = await center.database.query(
      'SELECT tries, TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(3), next_at) / 1000 AS ms FROM webhook_deliveries ORDER BY position LIMIT 1',
    );
    expect(head.tries).to.equal(4);
    expect(Number(head.ms)).to.be.within(1_000, 8_000);
    receiver.answer = (response) => response.end();
    await makeDue();
    await deliver();
    expect(receiver.types().slice(4)).to.deep.equal(['test.one', 'test.two', 'test.three']);
    expect((await center.send('GET', `webhooks/${id}`)).body.webhook).to.include({ state: 'active', error: null, pending: 0 });
  });

  it('one that was tried for too long is listed as failed, lets the others pass, and can be driven again', async () => {
    const id = await create();
    await write('test.one', 'test.two');
    const refuse = (status: number) => {
      receiver.answer = (response, { body }) => {
        response.statusCode = body.includes('test.one') ? status : 200;
        response.end();
      };
    };
    refuse(503);
    await deliver();
    await center.database.query('UPDATE webhook_deliveries SET tries = 14');
    await makeDue();
    await deliver();
    expect((await deliveries(id)).map((one: { state: string }) => one.state)).to.deep.equal(['failed', 'delivered']);
    refuse(404);
    const redriven = await center.send('POST', `webhooks/${id}/deliveries?action=redrive`, {});
    expect([redriven.status, redriven.body]).to.deep.equal([200, { redriven: 1 }]);
    for (let tries = 1; tries <= 5; tries++) {
      await makeDue();
      await deliver();
    }
    const [again] = (await center.send('GET', `webhooks/${id}/deliveries?state=failed`)).body.deliveries;
    expect(again, 'what is refused as such is given up sooner').to.include({ tries: 5, status: 404 });
    refuse(200);
    await center.send('POST', `webhooks/${id}/deliveries?action=redrive`, { event_ids: [again.event_id] });
    await deliver();
    expect((await deliveries(id)).map((one: { state: string }) => one.state)).to.deep.equal(['delivered', 'delivered']);
    await center.database.query("UPDATE webhook_deliveries SET state = 'pending', expires_at = UTC_TIMESTAMP(3) LIMIT 1");
    await makeDue();
    const before = receiver.received.length;
    await deliver();
    expect(receiver.received.length, 'nothing is sent after a day').to.equal(before);
    expect((await deliveries(id))[0]).to.include({ state: 'failed', error: 'It could not be delivered within a day.' });
  });

  it('a receiver that never answers, answers without end, sends elsewhere or is not there costs one try', async () => {
    const id = await create();
    const elsewhere = await Receiver.start();
    const answers: [Receiver['answer'], RegExp][] = [
      [() => undefined, /did not answer within 0.5 s/],
      [(response) => response.write('slowly', () => undefined), /did not answer within 0.5 s/],
      [
        (response) => {
          response.statusCode = 302;
          response.setHeader('Location', elsewhere.url);
          response.end();
        },
        /answered 302. Redirects are not followed/,
      ],
      [(response) => response.destroy(), /could not be called/],
    ];
    const impatient = newCourier(500);
    await write('test.one');
    for (const [answer, expected] of answers) {
      receiver.answer = answer;
      await makeDue();
      await deliver(impatient);
      expect((await deliveries(id))[0])
        .to.include({ state: 'pending' })
        .and.to.have.property('error')
        .that.matches(expected);
    }
    expect(elsewhere.received).to.deep.equal([]);
    await elsewhere.stop();
    receiver.answer = (response) => {
      // Far more than is read of it; the rest is cut off.
      const more = () => {
        while (response.write('x'.repeat(65_536)));
        response.once('drain', more);
      };
      more();
    };
    await makeDue();
    await deliver(impatient);
    expect((await deliveries(id))[0]).to.include({ state: 'delivered', status: 200 });
  });

  it('two centers share them: one at a time delivers to a webhook, and one that lost its lease decides nothing', async () => {
    const id = await create();
    await write('test.one');
    const arrived: (() => void)[] = [];
    receiver.answer = (response) => void arrived.push(() => response.end());
    await courier.pass();
    await until('the first is at it', async () => receiver.received.length === 1);
    const other = newCourier();
    await deliver(other);
    expect(receiver.received, 'the webhook is leased').to.have.length(1);
    // The first center stands still for longer than its lease.
    await center.database.query('UPDATE webhooks SET leased_until = UTC_TIMESTAMP(3)');
    receiver.answer = (response) => response.end();
    await write('test.two');
    await deliver(other);
    expect(receiver.types()).to.deep.equal(['test.one', 'test.one', 'test.two']);
    await center.database.query("UPDATE webhook_deliveries SET tries = 7 WHERE type = 'test.one'");
    for (const end of arrived) end();
    await courier.settled();
    expect((await deliveries(id)).map(({ state, tries }: { state: string; tries: number }) => [state, tries])).to.deep.equal([
      ['delivered', 7],
      ['delivered', 1],
    ]);
  });

  it('many events through two running centers arrive once each and in order', async () => {
    await create({ types: ['test'] });
    await center.events.start();
    for (const one of [courier, newCourier()]) await one.start();
    const COUNT = 120;
    for (let i = 0; i < COUNT; i++) {
      await inTransaction(center.database, (manager) => recordEvent(manager, { type: 'test.n', data: { i } }));
      center.events.poke();
    }
    await until('all of them', async () => receiver.received.length >= COUNT, 30_000);
    expect(receiver.received.map(({ body }) => JSON.parse(body).data.i)).to.deep.equal([...Array(COUNT).keys()]);
  });

  it('are refused where they must not go, and are for admins alone', async () => {
    for (const url of ['http://169.254.169.254/latest', 'http://[fe80::1]/', 'ftp://127.0.0.1/', 'http://user:pass@127.0.0.1/']) {
      const { status, body } = await center.send('PUT', 'webhooks', { name: 'x', url });
      expect([status, body.code, body.errors?.[0]?.path], url).to.deep.equal([422, 'invalid_request', 'url']);
    }
    const operator = { Authorization: `Bearer ${await center.tokenFor('operator')}` };
    expect((await center.send('GET', 'webhooks', undefined, operator)).status).to.equal(403);
    const id = await create();
    expect((await center.send('DELETE', `webhooks/${id}`)).status).to.equal(200);
    const gone = await center.send('GET', `webhooks/${id}`);
    expect([gone.status, gone.body.code]).to.deep.equal([404, 'webhook_not_found']);
  });
});
