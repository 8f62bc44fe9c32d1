/** Holds a lock of `alone` and a row, says so, and never lets go by itself. Arguments: URL, idle seconds of its sessions. */
import { alone, openDatabase } from '../../src/index.ts';

const [url = '', idle = ''] = process.argv.slice(2);
const database = await openDatabase(url, { connections: 4, sessionIdleS: Number(idle) });
await alone(database, 'stopped', async () => {
  const runner = database.createQueryRunner();
  await runner.startTransaction('READ COMMITTED');
  await runner.query('SELECT n FROM held WHERE n = 1 FOR UPDATE');
  process.stdout.write('held\n');
  await new Promise(() => undefined);
});
