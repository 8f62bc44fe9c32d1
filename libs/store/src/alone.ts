/**
 * Work that one center at a time does, under a lock of the server's own (GET_LOCK). The lock is the session's, and the session is its lease:
 * the server ends one that sends nothing for SESSION_IDLE_S, be it that the machine is gone or that the process is stopped. So nobody holds
 * a lock for ever, and nobody may rely on holding it: a process that was stopped and goes on finds others at work. All that runs here must be
 * safe to be done by two at once (row locks, compare-and-set, what may be repeated); the lock only saves work.
 */
import type { DataSource } from 'typeorm';

/** Far below what ends a session (database.ts). */
const STILL_HERE_MS = 5_000;

/** Runs `work` unless another session of this database has the lock `name` (13 characters at most). False: it has. */
export async function alone(database: DataSource, name: string, work: () => Promise<void>, waitSeconds = 0): Promise<boolean> {
  const runner = database.createQueryRunner();
  // The server's locks are not the database's: two databases on one server must not wait for each other.
  const lock = `CONCAT('${name}.', LEFT(DATABASE(), 50))`;
  let stillHere: NodeJS.Timeout | undefined;
  try {
    const [row] = (await runner.query(`SELECT GET_LOCK(${lock}, ?) AS taken`, [waitSeconds])) as [
      { taken: number | string | null },
    ];
    if (Number(row.taken) !== 1) return false;
    // The work goes over other sessions; this one must not look idle meanwhile. Where it is lost, so is the lock: see above.
    stillHere = setInterval(() => void runner.query('DO 1').catch(() => clearInterval(stillHere)), STILL_HERE_MS);
    try {
      await work();
    } finally {
      clearInterval(stillHere);
      await runner.query(`SELECT RELEASE_LOCK(${lock})`);
    }
    return true;
  } finally {
    await runner.release();
  }
}
