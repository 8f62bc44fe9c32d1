/** One pool of connections to MySQL or MariaDB, and the migrations, run at start under a lock of the server's own. */
import 'reflect-metadata';
import { TransientError } from '@openservice/domain';
import { MIGRATIONS } from '@openservice/migrations';
import { DataSource, type DataSourceOptions, type EntityManager } from 'typeorm';
import { alone } from './alone.ts';
import { SCHEMAS } from './schema/all.ts';

const MIGRATION_LOCK_SECONDS = 120;

export type { DataSource, EntityManager };

/**
 * The server ends a session of ours that sends nothing for this long, s: with it go its locks and its transaction. A center that is stopped
 * (SIGSTOP, a frozen machine) while its connection lives on must not hold rows from the others for ever.
 */
export const SESSION_IDLE_S = 30;
/** A connection that is not used is closed here before the server does it. */
const IDLE_MS = 15_000;

/** What we use of the driver's pool. */
interface DriverPool {
  on(event: 'connection', listener: (connection: { query(sql: string, done: (error: unknown) => void): void }) => void): void;
}

export interface DatabaseOptions {
  /** Most connections at a time. Default 16. */
  connections?: number;
  /** s; tests make it short. */
  sessionIdleS?: number;
}

/** A database whose tables are known before it is connected, so that a query made too early fails as any other without it. */
export class Database extends DataSource {
  readonly #sessionIdleS: number;

  constructor(options: DataSourceOptions, sessionIdleS: number = SESSION_IDLE_S) {
    super(options);
    this.#sessionIdleS = sessionIdleS;
  }

  async describe(): Promise<void> {
    await this.buildMetadatas();
  }

  override async initialize(): Promise<this> {
    await super.initialize();
    const { pool } = this.driver as unknown as { pool: DriverPool };
    const settings = [
      `SET SESSION wait_timeout = ${Math.trunc(this.#sessionIdleS)}`,
      // Once a session instead of once a transaction: it would be one round trip in eight of those that the database is asked for.
      'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED',
    ];
    // They go ahead of whatever the connection is for; where they fail, so does that.
    pool.on('connection', (connection) => {
      for (const setting of settings) connection.query(setting, () => undefined);
    });
    // The one that the driver has opened already, once it is free: the pool hands out that one.
    for (const setting of settings) await this.query(setting);
    return this;
  }
}

/**
 * The database at `url` (mysql://user:password@host:port/database), not connected yet: `initialize()` connects, and may be
 * called again after it failed. Later losses heal by themselves, query by query.
 */
export function createDatabase(url: string, options: DatabaseOptions = {}): Database {
  const connectionLimit = options.connections ?? 16;
  const typeorm: DataSourceOptions = {
    type: 'mysql',
    url,
    entities: SCHEMAS,
    migrations: MIGRATIONS,
    migrationsTransactionMode: 'none',
    timezone: 'Z',
    charset: 'utf8mb4',
    poolSize: connectionLimit,
    connectTimeout: 5_000,
    // For together.ts.
    multipleStatements: true,
    extra: { connectionLimit, maxIdle: connectionLimit - 1, idleTimeout: IDLE_MS, enableKeepAlive: true },
  };
  return new Database(typeorm, options.sessionIdleS);
}

/** Connects to `url`. Rejects with the driver's error when it cannot. */
export async function openDatabase(url: string, options: DatabaseOptions = {}): Promise<DataSource> {
  return createDatabase(url, options).initialize();
}

/** Brings the schema up to date. Several centers may start at once: one works, the others wait for it. */
export async function migrate(database: DataSource): Promise<void> {
  const done = await alone(
    database,
    'migrate',
    async () => {
      await database.runMigrations({ transaction: 'none' });
    },
    MIGRATION_LOCK_SECONDS,
  );
  if (done) return;
  throw new TransientError(
    'migration_locked',
    `Another center has been migrating the database for ${MIGRATION_LOCK_SECONDS} s; it will be tried again.`,
  );
}
