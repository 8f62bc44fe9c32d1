import { newId } from '@openservice/domain';
import { expect } from 'chai';
import { type HttpCenter, httpCenter } from './support/http-center.ts';

interface Shown {
  id: string;
  name: string;
  created_at: string;
}

describe('http: the blocks of a pool', () => {
  let center: HttpCenter;
  const pool = newId('pool');
  const inPool: string[] = [];

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    const { database } = center;
    await database.query(
      "INSERT INTO pools (id, name, type, state, node_id, path, fencing, created_at) VALUES (?, 'many', 'local', 'available', 'n', '/p', 'strict', NOW(3))",
      [pool],
    );
    for (let i = 0; i < 60; i++) {
      const id = newId('block');
      // Most tie in name and time; every third lies elsewhere, and some of the others are in the trash.
      const state = i % 11 === 10 ? 'trashed' : 'available';
      await database.query('INSERT INTO blocks (id, name, size, chunk_size, state, created_at) VALUES (?, ?, 1, 1048576, ?, ?)', [
        id,
        `disk ${i % 7}`,
        state,
        new Date(Date.UTC(2026, 0, 1, 0, 0, i % 5)),
      ]);
      const where = i % 3 === 0 ? newId('pool') : pool;
      await database.query("INSERT INTO replicas (block_id, pool_id, state, created_at) VALUES (?, ?, 'available', NOW(3))", [
        id,
        where,
      ]);
      if (where === pool && state === 'available') inPool.push(id);
    }
  });
  after(() => center?.stop());

  // How the rows are found depends on how many the pool counts; what is found does not.
  for (const counted of [36, 1_000_000]) {
    for (const sort of ['id', '-id', 'created_at', '-created_at', 'name', '-name']) {
      it(`are shown once each by ${sort}, page by page, where it counts ${counted}`, async () => {
        await center.database.query('UPDATE pools SET block_count = ? WHERE id = ?', [counted, pool]);
        const seen: Shown[] = [];
        for (let marker: string | null = ''; marker !== null; ) {
          const { body } = await center.send(
            'GET',
            `blocks?pool_id=${pool}&limit=7&sort=${sort}${marker && `&marker=${marker}`}`,
          );
          seen.push(...body.blocks);
          marker = body.next_marker;
        }
        expect(seen.map(({ id }) => id).toSorted()).to.deep.equal(inPool.toSorted());
        const column = sort.replace('-', '') as keyof Shown;
        const keys = seen.map((block) => `${block[column]} ${block.id}`);
        expect(sort.startsWith('-') ? keys.toReversed() : keys).to.deep.equal(keys.toSorted());
      });
    }
  }

  it('are none where there is no such pool', async () => {
    const { body } = await center.send('GET', `blocks?pool_id=${newId('pool')}`);
    expect(body).to.deep.equal({ blocks: [], next_marker: null });
  });
});
