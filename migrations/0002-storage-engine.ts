/**
 * Storage engine: encrypted and remote pools, trash, content that clients send, keys for other centers. Expands alone: a center of the
 * version before runs on it. MySQL has no ADD COLUMN IF NOT EXISTS, so what is there is looked up: a migration cut off half-way goes on.
 */
import type { MigrationInterface, QueryRunner } from 'typeorm';

const COLUMNS: [table: string, column: string, type: string][] = [
  ['pools', 'remote_pool', 'VARCHAR(128) NULL'],
  ['pools', 'tls_fingerprint', 'CHAR(64) NULL'],
  ['pools', 'pool_key_sealed', 'VARCHAR(512) NULL'],
  ['nodes', 'pool_fingerprint', 'CHAR(64) NULL'],
  ['blocks', 'purge_at', 'DATETIME(3) NULL'],
  ['blocks', 'content_node_id', 'VARCHAR(64) NULL'],
];

const INDEXES: [table: string, index: string, columns: string][] = [
  ['blocks', 'blocks_purge', 'purge_at'],
  ['blocks', 'blocks_parent', 'parent_block_id'],
];

export class StorageEngine1763900000002 implements MigrationInterface {
  readonly name = 'StorageEngine1763900000002';

  async up(runner: QueryRunner): Promise<void> {
    for (const [table, column, type] of COLUMNS) {
      if (!(await runner.hasColumn(table, column))) await runner.query(`ALTER TABLE ${table} ADD COLUMN ${column} ${type}`);
    }
    for (const [table, index, columns] of INDEXES) {
      if (!(await hasIndex(runner, table, index))) await runner.query(`CREATE INDEX ${index} ON ${table} (${columns})`);
    }
    await runner.query(
      "ALTER TABLE blocks MODIFY COLUMN state ENUM('creating','available','deleting','error','trashed') NOT NULL",
    );
    await runner.query(
      "ALTER TABLE replicas MODIFY COLUMN state ENUM('creating','available','deleting','damaged','trashed') NOT NULL",
    );
    await runner.query(`CREATE TABLE IF NOT EXISTS access_keys (
      access_key VARCHAR(40) NOT NULL PRIMARY KEY,
      name VARCHAR(128) NOT NULL,
      pool VARCHAR(128) NOT NULL,
      secret_key_sealed VARCHAR(512) NOT NULL,
      created_at DATETIME(3) NOT NULL,
      UNIQUE KEY access_keys_name (name)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE IF EXISTS access_keys');
    await runner.query("UPDATE replicas SET state = 'deleting' WHERE state = 'trashed'");
    await runner.query("UPDATE blocks SET state = 'deleting' WHERE state = 'trashed'");
    await runner.query("ALTER TABLE replicas MODIFY COLUMN state ENUM('creating','available','deleting','damaged') NOT NULL");
    await runner.query("ALTER TABLE blocks MODIFY COLUMN state ENUM('creating','available','deleting','error') NOT NULL");
    for (const [table, index] of INDEXES) await runner.query(`DROP INDEX ${index} ON ${table}`);
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
