/**
 * Job control: priorities, limits, pauses, commands held back by a limit, dead letters that were redriven. Expands alone: a center
 * of the version before runs on it, and leaves commands that are `held` to those of this one.
 */
import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLE = 'ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin';

const COLUMNS: [table: string, column: string, type: string][] = [
  ['jobs', 'priority', 'TINYINT NOT NULL DEFAULT 5'],
  ['jobs', 'pause_wanted', 'TINYINT(1) NOT NULL DEFAULT 0'],
  // Attempts that failed; `attempt` counts those too that were yielded or taken from a dead node.
  ['jobs', 'failures', 'INT NOT NULL DEFAULT 0'],
  ['jobs', 'next_attempt_at', 'DATETIME(3) NULL'],
  ['nodes', 'max_jobs', 'INT NULL'],
  ['nodes', 'bandwidth', 'DOUBLE NULL'],
  ['pools', 'max_jobs', 'INT NULL'],
  ['pools', 'bandwidth', 'DOUBLE NULL'],
  ['outbox', 'priority', 'TINYINT NOT NULL DEFAULT 5'],
  ['dead_letters', 'redriven_at', 'DATETIME(3) NULL'],
  ['dead_letters', 'outcome', 'VARCHAR(16) NULL'],
];

// A relay takes rows of one priority by (status, priority, next_at, id) with SKIP LOCKED; the key must match that order (see 0001).
const INDEXES: [table: string, index: string, columns: string][] = [
  ['outbox', 'outbox_relay', 'status, priority, next_at, id'],
  ['jobs', 'jobs_node_state', 'node_id, state, id'],
];

export class JobControl1764100000004 implements MigrationInterface {
  readonly name = 'JobControl1764100000004';

  async up(runner: QueryRunner): Promise<void> {
    for (const [table, column, type] of COLUMNS) {
      if (!(await runner.hasColumn(table, column))) await runner.query(`ALTER TABLE ${table} ADD COLUMN ${column} ${type}`);
    }
    await runner.query("ALTER TABLE outbox MODIFY COLUMN status ENUM('pending','done','held') NOT NULL");
    for (const [table, index, columns] of INDEXES) {
      if (!(await hasIndex(runner, table, index))) await runner.query(`CREATE INDEX ${index} ON ${table} (${columns})`);
    }
    // Rows that are locked, and hold nothing. `admission`: who lets go what a limit holds back.
    await runner.query(`CREATE TABLE IF NOT EXISTS row_locks (name VARCHAR(64) NOT NULL PRIMARY KEY) ${TABLE}`);
    await runner.query("INSERT IGNORE INTO row_locks (name) VALUES ('admission')");
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE IF EXISTS row_locks');
    await runner.query("UPDATE outbox SET status = 'pending' WHERE status = 'held'");
    for (const [table, index] of INDEXES) await runner.query(`DROP INDEX ${index} ON ${table}`);
    await runner.query("ALTER TABLE outbox MODIFY COLUMN status ENUM('pending','done') NOT NULL");
    for (const [table, column] of COLUMNS) await runner.query(`ALTER TABLE ${table} DROP COLUMN ${column}`);
  }
}

async function hasIndex(runner: QueryRunner, table: string, index: string): Promise<boolean> {
  const rows: unknown[] = await runner.query(
    'SELECT 1 FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = ? AND index_name = ? LIMIT 1',
    [table, index],
  );
  return rows.length > 0;
}
