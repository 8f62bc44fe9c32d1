import { MIGRATIONS } from '@openservice/migrations';
import { expect } from 'chai';
import { openDatabase } from '../src/database.ts';
import { migrate } from '../src/index.ts';
import { type OwnDatabase, ownDatabase } from './fixture.ts';

describe('migrations', () => {
  let own: OwnDatabase | null = null;

  before(async function () {
    own = await ownDatabase();
    if (own === null) this.skip();
  });
  after(() => own?.drop());

  it('run once when three centers start at the same moment, and again do nothing', async () => {
    const url = own?.url ?? '';
    const databases = await Promise.all([1, 2, 3].map(() => openDatabase(url, { connections: 3 })));
    await Promise.all(databases.map((database) => migrate(database)));
    const first = databases[0];
    const [row] = (await first?.query<{ n: string | number }[]>('SELECT COUNT(*) AS n FROM migrations')) ?? [];
    expect(Number(row?.n)).to.equal(MIGRATIONS.length);
    await Promise.all(databases.map((database) => migrate(database)));
    await Promise.all(databases.map((database) => database.destroy()));
  });

  it('begin again where a crash cut them off half-way', async () => {
    const database = await openDatabase(own?.url ?? '', { connections: 3 });
    await database.query('DELETE FROM migrations');
    await database.query('DROP TABLE audit');
    await migrate(database);
    expect(await database.query('SELECT id FROM audit')).to.deep.equal([]);
    await database.destroy();
  });
});
