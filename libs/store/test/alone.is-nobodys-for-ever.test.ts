/** What one center at a time does: kept while it works, free again when it is killed, or stands still. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { alone, type DataSource, openDatabase } from '../src/index.ts';
import { type OwnDatabase, ownDatabase } from './fixture.ts';

const HOLDER = fileURLToPath(new URL('./support/holder.ts', import.meta.url));
/** Longer than the lock's sign of life, so that one who works keeps it. */
const IDLE_S = 7;

describe('alone', function () {
  this.timeout(60_000);
  let own: OwnDatabase;
  let database: DataSource;

  before(async function () {
    const made = await ownDatabase();
    if (made === null) return this.skip();
    own = made;
    database = await openDatabase(own.url, { connections: 4, sessionIdleS: IDLE_S });
    await database.query('CREATE TABLE held (n INT NOT NULL PRIMARY KEY) ENGINE=InnoDB');
    await database.query('INSERT INTO held VALUES (1)');
  });
  after(async () => {
    await database?.destroy();
    await own?.drop();
  });

  const isFree = (name: string) => alone(database, name, async () => undefined);

  async function holder() {
    const child = spawn(process.execPath, [HOLDER, own.url, String(IDLE_S)], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    return child;
  }

  it('one works while another is refused, and the lock is free when the work has failed', async () => {
    const failed = alone(database, 'work', async () => {
      expect(await isFree('work')).to.equal(false);
      expect(await isFree('other')).to.equal(true);
      throw new Error('of the work');
    });
    expect(await failed.catch((error: Error) => error.message)).to.equal('of the work');
    expect(await isFree('work')).to.equal(true);
  });

  it('is free at once when its process is killed', async () => {
    const child = await holder();
    expect(await isFree('stopped')).to.equal(false);
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    expect(await alone(database, 'stopped', async () => undefined, 5)).to.equal(true);
  });

  it('a process that stands still loses the lock and its rows when its sessions are idle; one that works keeps it', async () => {
    const working = Promise.withResolvers<void>();
    const kept = alone(database, 'kept', () => working.promise);
    const child = await holder();
    child.kill('SIGSTOP');
    try {
      const startedAt = performance.now();
      expect(await alone(database, 'stopped', async () => undefined, 5 * IDLE_S), 'it is given up').to.equal(true);
      expect(performance.now() - startedAt).to.be.greaterThan(1_000);
      // Its row too: the transaction went with the session.
      await database.query('UPDATE held SET n = 1 WHERE n = 1');
      expect(await isFree('kept'), 'one that works').to.equal(false);
    } finally {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
      working.resolve();
    }
    expect(await kept).to.equal(true);
  });
});
