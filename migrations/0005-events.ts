/**
 * Events and webhooks. Expands alone.
 *
 * A row of `events` is written by the transaction that changes something, and has no place in the stream (`position`) until that has
 * committed: an AUTO_INCREMENT key is given out before the commit, so a reader that went by it would pass over what commits late.
 */
import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLE = 'ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin';

const TABLES = [
  `CREATE TABLE IF NOT EXISTS events (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    position BIGINT NULL,
    type VARCHAR(64) NOT NULL,
    job_id VARCHAR(40) NULL,
    block_id VARCHAR(40) NULL,
    node_id VARCHAR(64) NULL,
    pool_id VARCHAR(40) NULL,
    instance_id VARCHAR(40) NULL,
    data JSON NOT NULL,
    at DATETIME(3) NOT NULL,
    KEY events_position (position),
    KEY events_job (job_id, position)
  )`,
  // One row. Whoever holds its lock gives out positions; `floor_position`: the last one that retention has removed.
  `CREATE TABLE IF NOT EXISTS event_stream (
    id TINYINT NOT NULL PRIMARY KEY,
    last_position BIGINT NOT NULL,
    floor_position BIGINT NOT NULL
  )`,
  // What the stream last said of nodes, pools and instances.
  `CREATE TABLE IF NOT EXISTS event_states (
    kind VARCHAR(16) NOT NULL,
    id VARCHAR(64) NOT NULL,
    state VARCHAR(32) NOT NULL,
    PRIMARY KEY (kind, id)
  )`,
  `CREATE TABLE IF NOT EXISTS webhooks (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    name VARCHAR(128) NOT NULL,
    url VARCHAR(2048) NOT NULL,
    filters JSON NOT NULL,
    secret_sealed VARCHAR(1024) NOT NULL,
    state ENUM('active','failing') NOT NULL,
    position BIGINT NOT NULL,
    lease_fence BIGINT NOT NULL DEFAULT 0,
    leased_until DATETIME(3) NOT NULL,
    error_message VARCHAR(2000) NULL,
    failing_since DATETIME(3) NULL,
    created_at DATETIME(3) NOT NULL,
    UNIQUE KEY webhooks_name (name)
  )`,
  `CREATE TABLE IF NOT EXISTS webhook_deliveries (
    webhook_id VARCHAR(40) NOT NULL,
    position BIGINT NOT NULL,
    type VARCHAR(64) NOT NULL,
    body MEDIUMTEXT NOT NULL,
    state ENUM('pending','delivered','failed') NOT NULL,
    tries INT NOT NULL DEFAULT 0,
    next_at DATETIME(3) NOT NULL,
    expires_at DATETIME(3) NOT NULL,
    status INT NULL,
    error_message VARCHAR(2000) NULL,
    updated_at DATETIME(3) NOT NULL,
    PRIMARY KEY (webhook_id, position),
    KEY webhook_deliveries_state (webhook_id, state, position),
    KEY webhook_deliveries_updated (state, updated_at)
  )`,
];

export class Events1764200000005 implements MigrationInterface {
  readonly name = 'Events1764200000005';

  async up(runner: QueryRunner): Promise<void> {
    for (const table of TABLES) await runner.query(`${table} ${TABLE}`);
    await runner.query('INSERT IGNORE INTO event_stream (id, last_position, floor_position) VALUES (1, 0, 0)');
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of [...TABLES].reverse())
      await runner.query(`DROP TABLE IF EXISTS ${/CREATE TABLE IF NOT EXISTS (\w+)/.exec(table)?.[1]}`);
  }
}
