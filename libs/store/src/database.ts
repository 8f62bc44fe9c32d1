/** One pool of connections to MySQL or MariaDB, and the migrations, run at start under a lock of the server's own. */
import 'reflect-metadata';
import { TransientError } from '@openservice/domain';
import { MIGRATIONS } from '@openservice/migrations';
import { DataSource, type EntityManager } from 'typeorm';
import { SCHEMAS } from './schema/all.ts';

const MIGRATION_LOCK = "CONCAT('migrate.', LEFT(DATABASE(), 50))";
const MIGRATION_LOCK_SECONDS = 120;

export type { DataSource, EntityManager };

/** A database whose tables are known before it is connected, so that a query made too early fails as any other without it. */
export class Database extends DataSource {
  async describe(): Promise<void> {
    await this.buildMetadatas();
  }
}

/**
 * The database at `url` (mysql://user:password@host:port/database), not connected yet: `initialize()` connects, and may be
 * called again after it failed. Later losses heal by themselves, query by query.
 */
export function createDatabase(url: string, options: { connections?: number } = {}): Database {
  return new Database({
    type: 'mysql',
    url,
    entities: SCHEMAS,
    migrations: MIGRATIONS,
    migrationsTransactionMode: 'none',
    timezone: 'Z',
    charset: 'utf8mb4',
    poolSize: options.connections ?? 16,
    connectTimeout: 5_000,
    extra: { connectionLimit: options.connections ?? 16, enableKeepAlive: true },
  });
}

/** Connects to `url`. Rejects with the driver's error when it cannot. */
export async function openDatabase(url: string, options: { connections?: number } = {}): Promise<DataSource> {
  return createDatabase(url, options).initialize();
}

/** Brings the schema up to date. Several centers may start at once: one works, the others wait for it. */
export async function migrate(database: DataSource): Promise<void> {
  const runner = database.createQueryRunner();
  try {
    // The server's locks are not the database's: two databases on one server must not wait for each other.
    const [row] = (await runner.query(`SELECT GET_LOCK(${MIGRATION_LOCK}, ?) AS taken`, [MIGRATION_LOCK_SECONDS])) as [
      { taken: number | string | null },
    ];
    if (Number(row.taken) !== 1) {
      throw new TransientError(
        'migration_locked',
        `Another center has been migrating the database for ${MIGRATION_LOCK_SECONDS} s; it will be tried again.`,
      );
    }
    try {
      await database.runMigrations({ transaction: 'none' });
    } finally {
      await runner.query(`SELECT RELEASE_LOCK(${MIGRATION_LOCK})`);
    }
  } finally {
    await runner.release();
  }
}
