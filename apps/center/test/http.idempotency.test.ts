import { expect } from 'chai';
import { type HttpCenter, httpCenter } from './support/http-center.ts';

describe('http: Idempotency-Key', () => {
  let center: HttpCenter;
  let pool: string;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    pool = await center.pool('local');
  });
  after(() => center?.stop());

  const importing = (name = 'disk') => ({ name, pool_id: pool, source: { type: 'file', path: '/in/a' } });
  const put = (key: string, body: unknown, path = 'blocks') => center.send('PUT', path, body, { 'Idempotency-Key': key });
  const jobs = async () => Number((await center.database.query('SELECT COUNT(*) AS n FROM jobs'))[0].n);

  it('answers the second call with the first answer, and does nothing twice', async () => {
    const first = await put('one', importing());
    const before = await jobs();
    const second = await put('one', importing());
    expect(second.status).to.equal(202);
    expect(second.text).to.equal(first.text);
    expect(second.headers.get('Location')).to.equal(first.headers.get('Location'));
    expect(second.headers.get('Idempotent-Replay')).to.equal('true');
    expect(first.headers.get('Idempotent-Replay')).to.equal(null);
    expect(await jobs()).to.equal(before);
  });

  it('refuses the key with another body, path or query', async () => {
    await put('two', { name: 'a' }, 'sets');
    for (const again of [
      put('two', { name: 'b' }, 'sets'),
      put('two', { name: 'a' }, 'sets?x=1'),
      put('two', { name: 'a' }, 'pools'),
    ]) {
      const { status, body } = await again;
      expect([status, body.code]).to.deep.equal([422, 'idempotency_key_reused']);
    }
  });

  it("is each token's own", async () => {
    const first = await put('three', { name: 'a' }, 'sets');
    const other = await center.send(
      'PUT',
      'sets',
      { name: 'b' },
      {
        'Idempotency-Key': 'three',
        Authorization: `Bearer ${await center.tokenFor('operator')}`,
      },
    );
    expect(other.status).to.equal(201);
    expect(other.body['set-id']).not.to.equal(first.body['set-id']);
  });

  it('replays a refusal, but not a failure of ours', async () => {
    const before = center.nodes.answers.source_probe;
    center.nodes.refuse('source_probe', 'path_not_allowed');
    expect((await put('four', importing())).status).to.equal(422);
    center.nodes.away('source_probe');
    expect((await put('five', importing())).status).to.equal(503);
    center.nodes.answers.source_probe = before;
    const refused = await put('four', importing());
    expect([refused.status, refused.headers.get('Idempotent-Replay')]).to.deep.equal([422, 'true']);
    expect(refused.headers.get('Content-Type')).to.equal('application/problem+json');
    expect((await put('five', importing())).status).to.equal(202);
  });

  it('says so while the first call is still going on', async () => {
    const before = center.nodes.answers.source_probe;
    const asked = Promise.withResolvers<void>();
    const held = Promise.withResolvers<unknown>();
    center.nodes.answers.source_probe = () => {
      asked.resolve();
      return held.promise;
    };
    const first = put('six', importing());
    await asked.promise;
    const second = await put('six', importing());
    expect([second.status, second.body.code]).to.deep.equal([409, 'idempotency_in_progress']);
    expect(second.headers.get('Retry-After')).to.equal('1');
    center.nodes.answers.source_probe = before;
    held.resolve({ size: 10_000_000 });
    expect((await first).status).to.equal(202);
    expect((await put('six', importing())).text).to.equal((await first).text);
  });

  it('takes over what a crash left, and lets the old call do nothing any more', async () => {
    const before = center.nodes.answers.source_probe;
    const asked = Promise.withResolvers<void>();
    const held = Promise.withResolvers<unknown>();
    center.nodes.answers.source_probe = () => {
      asked.resolve();
      return held.promise;
    };
    // The first center is stopped between taking the key and its transaction: for a minute and more nothing is heard.
    const dead = put('seven', importing('crash'));
    await asked.promise;
    await center.database.query(
      "UPDATE idempotency_keys SET created_at = created_at - INTERVAL 61 SECOND WHERE idempotency_key = 'seven'",
    );
    center.nodes.answers.source_probe = before;
    const count = await jobs();
    const again = await put('seven', importing('crash'));
    expect(again.status, again.text).to.equal(202);
    // It was only slow, and wakes up: its transaction finds the key in other hands and is rolled back.
    held.resolve({ size: 10_000_000 });
    expect((await dead).body.code).to.equal('idempotency_in_progress');
    expect(await jobs()).to.equal(count + 1);
    const list = await center.send('GET', 'blocks?filter=crash');
    expect(list.body.blocks.map((b: { id: string }) => b.id)).to.deep.equal([again.body['block-id']]);
    expect((await put('seven', importing('crash'))).text).to.equal(again.text);
  });

  it('has the answer of a call whose center crashed after its transaction', async () => {
    // The answer stands in the row from the same transaction as the job: nothing after it is needed.
    const first = await put('eight', importing());
    const [row] = await center.database.query("SELECT status, body FROM idempotency_keys WHERE idempotency_key = 'eight'");
    expect([row.status, row.body]).to.deep.equal([202, first.text]);
  });

  it('lets ten calls at once make one job', async () => {
    const before = await jobs();
    const answers = await Promise.all(Array.from({ length: 10 }, () => put('nine', importing())));
    expect(await jobs()).to.equal(before + 1);
    expect(new Set(answers.filter((a) => a.status === 202).map((a) => a.text)).size).to.equal(1);
    expect(answers.every((a) => a.status === 202 || a.body.code === 'idempotency_in_progress')).to.equal(true);
  });

  it('refuses keys of a wrong form', async () => {
    for (const key of ['', 'x'.repeat(256), 'a\u00e9']) {
      const { status, body } = await put(key, { name: 'k' }, 'sets');
      expect([status, body.code], key).to.deep.equal([422, 'invalid_request']);
      expect(body.errors[0].path).to.equal('header.Idempotency-Key');
    }
  });
});
