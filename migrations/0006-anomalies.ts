/** Anomalies: what center, nodes and pools disagree about, and when each pool was last compared. Expands alone. */
import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLE = 'ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin';

const TABLES = [
  // `expires_at`: of what is seen only in passing; null: it goes when a look no longer finds it.
  `CREATE TABLE IF NOT EXISTS anomalies (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    kind VARCHAR(32) NOT NULL,
    scope VARCHAR(128) NOT NULL,
    resource VARCHAR(160) NOT NULL,
    detail VARCHAR(2000) NOT NULL,
    remedy VARCHAR(2000) NOT NULL,
    since DATETIME(3) NOT NULL,
    seen_at DATETIME(3) NOT NULL,
    expires_at DATETIME(3) NULL,
    dismissed_at DATETIME(3) NULL,
    UNIQUE KEY anomalies_what (kind, scope, resource),
    KEY anomalies_scope (scope),
    KEY anomalies_expires (expires_at)
  )`,
  `CREATE TABLE IF NOT EXISTS pool_comparisons (
    pool_id VARCHAR(40) NOT NULL PRIMARY KEY,
    next_at DATETIME(3) NOT NULL,
    KEY pool_comparisons_next (next_at)
  )`,
];

export class Anomalies1764300000006 implements MigrationInterface {
  readonly name = 'Anomalies1764300000006';

  async up(runner: QueryRunner): Promise<void> {
    for (const table of TABLES) await runner.query(`${table} ${TABLE}`);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of [...TABLES].reverse())
      await runner.query(`DROP TABLE IF EXISTS ${/CREATE TABLE IF NOT EXISTS (\w+)/.exec(table)?.[1]}`);
  }
}
