import { newId } from '@openservice/domain';
import { expect } from 'chai';
import { type HttpCenter, httpCenter } from './support/http-center.ts';

describe('http: lists', () => {
  let center: HttpCenter;
  const ids: string[] = [];

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    for (let i = 0; i < 250; i++) {
      const id = newId('set');
      ids.push(id);
      // Ten names and five times only: most rows tie.
      const at = new Date(Date.UTC(2026, 0, 1, 0, 0, i % 5, 123));
      await center.database.query("INSERT INTO sets VALUES (?, ?, '', '{}', 0, ?)", [id, `name ${i % 10}`, at]);
    }
    ids.sort();
  });
  after(() => center?.stop());

  for (const sort of ['', 'id', '-id', 'created_at', '-created_at', 'name', '-name']) {
    it(`shows 250 rows with ties once each, sorted by ${sort || 'default'}`, async () => {
      const seen: { id: string; name: string; created_at: string }[] = [];
      let marker: string | null = '';
      let pages = 0;
      while (marker !== null) {
        const { body } = await center.send('GET', `sets?limit=40${sort && `&sort=${sort}`}${marker && `&marker=${marker}`}`);
        seen.push(...body.sets);
        marker = body.next_marker;
        pages++;
      }
      expect(pages).to.equal(7);
      expect(seen.map((set) => set.id).toSorted()).to.deep.equal(ids);
      const column = (sort.replace('-', '') || 'id') as 'id' | 'name' | 'created_at';
      const keys = seen.map((set) => `${set[column]} ${set.id}`);
      expect(sort.startsWith('-') ? keys.toReversed() : keys).to.deep.equal(keys.toSorted());
    });
  }

  it('ends exactly at the last row', async () => {
    const { body } = await center.send('GET', 'sets?limit=250');
    expect([body.sets.length, body.next_marker]).to.deep.equal([250, null]);
  });

  for (const query of [
    'limit=0',
    'limit=1001',
    'limit=-1',
    'limit=ten',
    'limit=',
    'limit=9007199254740992',
    'limit=1&limit=2',
    'offset=5',
    'sort=size',
    'marker=nonsense',
    'marker=set-00000000000000000000000000&sort=name',
    `filter=${'x'.repeat(256)}`,
  ]) {
    it(`refuses ?${query.slice(0, 40)}`, async () => {
      const { status, body } = await center.send('GET', `sets?${query}`);
      expect([status, body.code]).to.deep.equal([422, 'invalid_request']);
      expect(body.errors[0].path).to.match(/^query\./);
    });
  }
});
