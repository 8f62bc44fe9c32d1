/** The one way to run a transaction: READ COMMITTED (as every session is, database.ts), and again from its start when the server chose it as a deadlock's victim. */
import { setTimeout as delay } from 'node:timers/promises';
import { TransientError } from '@openservice/domain';
import type { DataSource, EntityManager } from 'typeorm';

const MOST_TRIES = 12;
const RETRIED = new Set(['ER_LOCK_DEADLOCK', 'ER_LOCK_WAIT_TIMEOUT', 'ER_CHECKREAD']);
const AWAY = new Set([
  'PROTOCOL_CONNECTION_LOST',
  'PROTOCOL_ENQUEUE_AFTER_FATAL_ERROR',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOENT',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ER_SERVER_SHUTDOWN',
  'ER_CON_COUNT_ERROR',
  'ER_QUERY_INTERRUPTED',
  'ER_CONNECTION_KILLED',
  // The server ended a session that sent nothing for too long (database.ts).
  'ER_CLIENT_INTERACTION_TIMEOUT',
]);
const AWAY_WORDS =
  /closed state|Connection lost|Connection is (?:not established|closed)|Driver not Connected|not initialized|Server shutdown/i;

function driverCode(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const own = error as NodeJS.ErrnoException & { driverError?: NodeJS.ErrnoException };
  return own.driverError?.code ?? own.code ?? '';
}

/** True when `error` says that the database cannot be reached or is going down: the same call may succeed later. */
export function isDatabaseAway(error: unknown): boolean {
  if (error instanceof TransientError) return error.code === 'database_unavailable';
  return AWAY.has(driverCode(error)) || (error instanceof Error && AWAY_WORDS.test(error.message));
}

/** True when `error` is a duplicate key: someone else wrote the row first. */
export function isDuplicate(error: unknown): boolean {
  return driverCode(error) === 'ER_DUP_ENTRY';
}

/**
 * Runs `work` in a transaction and commits. `work` may run several times (deadlock, lock wait): it must do nothing that a
 * rollback does not undo. TransientError `database_unavailable` when the server is away: what was asked may or may not
 * have been committed if it went away during the commit, so callers repeat only what may be repeated.
 */
export async function inTransaction<T>(database: DataSource, work: (manager: EntityManager) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await database.transaction(work);
    } catch (error) {
      if (isDatabaseAway(error) && !(error instanceof TransientError)) {
        throw new TransientError('database_unavailable', 'The database cannot be reached; see that MySQL runs.', {
          cause: error,
        });
      }
      if (!RETRIED.has(driverCode(error)) || tries >= MOST_TRIES) throw error;
      await delay(Math.min(250, 2 ** tries) * (0.5 + Math.random()));
    }
  }
}
