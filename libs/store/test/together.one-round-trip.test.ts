import { expect } from 'chai';
import { type DataSource, inTransaction, isDuplicate, openDatabase, Together } from '../src/index.ts';
import { type OwnDatabase, ownDatabase } from './fixture.ts';

describe('statements together', () => {
  let own: OwnDatabase | null = null;
  let database: DataSource;

  before(async function () {
    own = await ownDatabase();
    if (own === null) return this.skip();
    database = await openDatabase(own.url);
    await database.query('CREATE TABLE notes (id INT PRIMARY KEY AUTO_INCREMENT, text VARCHAR(64) NOT NULL) ENGINE=InnoDB');
  });
  beforeEach(async () => void (await database.query('DELETE FROM notes')));
  after(async () => {
    if (own === null) return;
    await database.destroy();
    await own.drop();
  });

  const texts = async () =>
    (await database.query<{ text: string }[]>('SELECT text FROM notes ORDER BY id')).map((row) => row.text);

  it('run in their order, and each has its answer', async () => {
    const answers = await inTransaction(database, (manager) => {
      const together = new Together();
      void together.query('INSERT INTO notes (text) VALUES (?)', ['one']);
      void together.query('SELECT text FROM notes');
      void together.query('INSERT INTO notes (text) VALUES (?), (?)', ['two', 'three']);
      return together.run(manager);
    });
    const [one, seen, more] = answers as [{ affectedRows: number }, { text: string }[], { affectedRows: number }];
    expect([one.affectedRows, seen.map(({ text }) => text), more.affectedRows]).to.deep.equal([1, ['one'], 2]);
    expect(await texts()).to.deep.equal(['one', 'two', 'three']);
  });

  it('one alone answers as it would by itself, none asks nothing', async () => {
    const together = new Together();
    expect(await together.run(database.manager)).to.deep.equal([]);
    await together.query('SELECT 7 AS n');
    expect(await together.run(database.manager)).to.deep.equal([[{ n: 7 }]]);
    expect(await together.run(database.manager)).to.deep.equal([]);
  });

  it('a value with a quote, a semicolon and a question mark stays a value', async () => {
    const text = `'; DROP TABLE notes; -- ? \\`;
    await inTransaction(database, async (manager) => {
      const together = new Together();
      await together.query('INSERT INTO notes (text) VALUES (?)', [text]);
      await together.query('INSERT INTO notes (text) VALUES (?)', ['?']);
      await together.run(manager);
    });
    expect(await texts()).to.deep.equal([text, '?']);
  });

  it('one that fails is the error of all, and the transaction takes back those before it', async () => {
    const error = await inTransaction(database, async (manager) => {
      const together = new Together();
      await together.query("INSERT INTO notes VALUES (1, 'first')");
      await together.query("INSERT INTO notes VALUES (1, 'again')");
      await together.query("INSERT INTO notes VALUES (2, 'never')");
      await together.run(manager);
    }).catch((thrown: unknown) => thrown);
    expect(isDuplicate(error)).to.equal(true);
    expect(await texts()).to.deep.equal([]);
  });

  it('every transaction reads what is committed, on every connection', async () => {
    const others = await openDatabase(own?.url ?? '', { connections: 2 });
    const levels = await Promise.all(
      Array.from({ length: 20 }, () =>
        inTransaction(database, async (manager) => {
          const [before] = await manager.query<{ n: string | number }[]>('SELECT COUNT(*) AS n FROM notes');
          await others.query("INSERT INTO notes (text) VALUES ('beside')");
          const [after] = await manager.query<{ n: string | number }[]>('SELECT COUNT(*) AS n FROM notes');
          return Number(after?.n) > Number(before?.n);
        }),
      ),
    );
    await others.destroy();
    expect(levels.every(Boolean)).to.equal(true);
  });
});
