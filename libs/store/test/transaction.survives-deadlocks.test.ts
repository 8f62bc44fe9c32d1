import { TransientError } from '@openservice/domain';
import { expect } from 'chai';
import { createDatabase, type DataSource, inTransaction, openDatabase } from '../src/index.ts';
import { type OwnDatabase, ownDatabase } from './fixture.ts';

describe('inTransaction', () => {
  let own: OwnDatabase | null = null;
  let database: DataSource;

  before(async function () {
    own = await ownDatabase();
    if (own === null) return this.skip();
    database = await openDatabase(own.url);
    await database.query('CREATE TABLE counters (id INT PRIMARY KEY, n INT NOT NULL) ENGINE=InnoDB');
    await database.query('INSERT INTO counters VALUES (1, 0), (2, 0), (3, 0)');
  });
  after(async () => {
    if (own === null) return;
    await database.destroy();
    await own.drop();
  });

  it('loses no update when forty transactions lock the same rows in opposite orders', async () => {
    let runs = 0;
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        inTransaction(database, async (manager) => {
          runs++;
          for (const id of i % 2 === 0 ? [1, 2, 3] : [3, 2, 1]) {
            await manager.query('UPDATE counters SET n = n + 1 WHERE id = ?', [id]);
          }
        }),
      ),
    );
    const rows = await database.query<{ n: number }[]>('SELECT n FROM counters');
    expect(rows.map((row) => row.n)).to.deep.equal([40, 40, 40]);
    expect(runs, 'the server chose victims, or this test shows nothing').to.be.greaterThan(40);
  });

  it('rolls back what threw, and does not repeat it', async () => {
    let runs = 0;
    const failed = await inTransaction(database, async (manager) => {
      runs++;
      await manager.query('UPDATE counters SET n = 0');
      throw new Error('no');
    }).catch((error: Error) => error.message);
    expect(failed).to.equal('no');
    expect(runs).to.equal(1);
    const [row] = await database.query<{ n: number }[]>('SELECT n FROM counters');
    expect(row?.n).to.equal(40);
  });

  it('says database_unavailable when the server was never there', async () => {
    const nowhere = createDatabase('mysql://nobody:x@127.0.0.1:1/none');
    const error = await inTransaction(nowhere, async () => 1).catch((e: unknown) => e);
    expect(error).to.be.instanceOf(TransientError);
    expect((error as TransientError).code).to.equal('database_unavailable');
  });
});
