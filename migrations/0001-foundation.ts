/**
 * The first schema. MySQL 8.4 and MariaDB ≥ 10.6 alike: no UUID type, no RETURNING. DDL commits by itself, so later
 * migrations expand first and contract in a release after; one that was cut off half-way begins again, hence IF NOT EXISTS.
 *
 * Times are DATETIME(3) in UTC. Sizes are bytes in BIGINT.
 */
import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLE = 'ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin';

const TABLES = [
  `CREATE TABLE IF NOT EXISTS tokens (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    name VARCHAR(128) NOT NULL,
    role ENUM('viewer','operator','admin') NOT NULL,
    token_hash CHAR(64) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    UNIQUE KEY tokens_hash (token_hash)
  )`,
  `CREATE TABLE IF NOT EXISTS nodes (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    name VARCHAR(128) NOT NULL,
    state ENUM('online','suspect','offline','draining','drained') NOT NULL,
    epoch BIGINT NOT NULL,
    version VARCHAR(64) NOT NULL,
    kinds JSON NOT NULL,
    import_roots JSON NOT NULL,
    pool_endpoint VARCHAR(255) NULL,
    nbd_endpoint VARCHAR(255) NULL,
    sync_wanted TINYINT(1) NOT NULL DEFAULT 0,
    last_seen_at DATETIME(3) NOT NULL,
    created_at DATETIME(3) NOT NULL
  )`,
  `CREATE TABLE IF NOT EXISTS pools (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    name VARCHAR(128) NOT NULL,
    type ENUM('local','remote','s3','dedup') NOT NULL,
    state ENUM('available','unavailable','deleting') NOT NULL,
    node_id VARCHAR(64) NULL,
    path VARCHAR(1024) NULL,
    host VARCHAR(255) NULL,
    port INT NULL,
    s3_scheme ENUM('aws','oss','cos','other') NULL,
    endpoint VARCHAR(512) NULL,
    bucket VARCHAR(255) NULL,
    region VARCHAR(64) NULL,
    https TINYINT(1) NULL,
    prefix VARCHAR(512) NULL,
    access_key VARCHAR(255) NULL,
    secret_key_sealed VARCHAR(1024) NULL,
    fencing ENUM('strict','advisory') NOT NULL,
    stored_bytes BIGINT NOT NULL DEFAULT 0,
    logical_bytes BIGINT NOT NULL DEFAULT 0,
    capacity_bytes BIGINT NULL,
    block_count INT NOT NULL DEFAULT 0,
    created_at DATETIME(3) NOT NULL,
    UNIQUE KEY pools_name (name)
  )`,
  `CREATE TABLE IF NOT EXISTS sets (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    description VARCHAR(1024) NOT NULL,
    labels JSON NOT NULL,
    block_count INT NOT NULL DEFAULT 0,
    created_at DATETIME(3) NOT NULL,
    KEY sets_name (name, id)
  )`,
  `CREATE TABLE IF NOT EXISTS blocks (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    set_id VARCHAR(40) NULL,
    size BIGINT NOT NULL,
    chunk_size INT NOT NULL,
    state ENUM('creating','available','deleting','error') NOT NULL,
    root_digest CHAR(64) NULL,
    parent_block_id VARCHAR(40) NULL,
    source JSON NULL,
    error_code VARCHAR(64) NULL,
    error_message VARCHAR(2000) NULL,
    created_at DATETIME(3) NOT NULL,
    KEY blocks_set (set_id, id),
    KEY blocks_state (state, id),
    KEY blocks_name (name, id)
  )`,
  `CREATE TABLE IF NOT EXISTS replicas (
    block_id VARCHAR(40) NOT NULL,
    pool_id VARCHAR(40) NOT NULL,
    state ENUM('creating','available','deleting','damaged') NOT NULL,
    stored_bytes BIGINT NOT NULL DEFAULT 0,
    verified_at DATETIME(3) NULL,
    was_damaged TINYINT(1) NOT NULL DEFAULT 0,
    job_id VARCHAR(40) NULL,
    created_at DATETIME(3) NOT NULL,
    PRIMARY KEY (block_id, pool_id),
    KEY replicas_pool (pool_id, block_id)
  )`,
  `CREATE TABLE IF NOT EXISTS jobs (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    kind VARCHAR(32) NOT NULL,
    state VARCHAR(16) NOT NULL,
    node_id VARCHAR(64) NOT NULL,
    block_id VARCHAR(40) NULL,
    set_id VARCHAR(40) NULL,
    result_block_id VARCHAR(40) NULL,
    attempt INT NOT NULL,
    fence BIGINT NOT NULL,
    event_seq INT NOT NULL DEFAULT 0,
    params JSON NOT NULL,
    claims JSON NOT NULL,
    result JSON NULL,
    bytes_total BIGINT NOT NULL DEFAULT 0,
    bytes_done BIGINT NOT NULL DEFAULT 0,
    bytes_sent BIGINT NOT NULL DEFAULT 0,
    bytes_sent_before BIGINT NOT NULL DEFAULT 0,
    bytes_skipped BIGINT NOT NULL DEFAULT 0,
    rate DOUBLE NOT NULL DEFAULT 0,
    eta_ms BIGINT NULL,
    error_code VARCHAR(64) NULL,
    error_message VARCHAR(2000) NULL,
    created_by VARCHAR(40) NULL,
    traceparent VARCHAR(64) NOT NULL,
    deadline_at DATETIME(3) NULL,
    created_at DATETIME(3) NOT NULL,
    started_at DATETIME(3) NULL,
    finished_at DATETIME(3) NULL,
    KEY jobs_state (state, id),
    KEY jobs_kind (kind, id),
    KEY jobs_node (node_id, id),
    KEY jobs_block (block_id, id),
    KEY jobs_set (set_id, id),
    KEY jobs_deadline (deadline_at)
  )`,
  // The fence of an attempt is this table's key: it only grows, and attempts on one block are made one after the other
  // under the block's claim, so a later attempt always carries a larger fence.
  `CREATE TABLE IF NOT EXISTS job_attempts (
    fence BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    job_id VARCHAR(40) NOT NULL,
    attempt INT NOT NULL,
    node_id VARCHAR(64) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    UNIQUE KEY job_attempts_job (job_id, attempt)
  )`,
  `CREATE TABLE IF NOT EXISTS job_transitions (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    job_id VARCHAR(40) NOT NULL,
    attempt INT NOT NULL,
    from_state VARCHAR(16) NULL,
    to_state VARCHAR(16) NOT NULL,
    note VARCHAR(2000) NULL,
    at DATETIME(3) NOT NULL,
    KEY job_transitions_job (job_id, id)
  )`,
  `CREATE TABLE IF NOT EXISTS claims (
    resource VARCHAR(160) NOT NULL,
    job_id VARCHAR(40) NOT NULL,
    mode ENUM('shared','exclusive') NOT NULL,
    PRIMARY KEY (resource, job_id),
    KEY claims_job (job_id)
  )`,
  // A relay takes rows by (status, next_at, id) with SKIP LOCKED; the key must match that order, or a second relay gets none.
  `CREATE TABLE IF NOT EXISTS outbox (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    node_id VARCHAR(64) NOT NULL,
    type VARCHAR(16) NOT NULL,
    job_id VARCHAR(40) NOT NULL,
    attempt INT NOT NULL,
    payload JSON NOT NULL,
    traceparent VARCHAR(64) NOT NULL,
    status ENUM('pending','done') NOT NULL,
    tries INT NOT NULL DEFAULT 0,
    next_at DATETIME(3) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    KEY outbox_due (status, next_at, id),
    KEY outbox_job (job_id, attempt)
  )`,
  `CREATE TABLE IF NOT EXISTS inbox (
    job_id VARCHAR(40) NOT NULL,
    attempt INT NOT NULL,
    seq INT NOT NULL,
    type VARCHAR(32) NOT NULL,
    applied TINYINT(1) NOT NULL,
    at DATETIME(3) NOT NULL,
    PRIMARY KEY (job_id, attempt, seq),
    KEY inbox_at (at)
  )`,
  `CREATE TABLE IF NOT EXISTS dead_letters (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    subject VARCHAR(255) NOT NULL,
    reason VARCHAR(2000) NOT NULL,
    body MEDIUMTEXT NOT NULL,
    at DATETIME(3) NOT NULL
  )`,
  `CREATE TABLE IF NOT EXISTS idempotency_keys (
    token_id VARCHAR(40) NOT NULL,
    idempotency_key VARCHAR(255) NOT NULL,
    request_hash CHAR(64) NOT NULL,
    status INT NULL,
    headers JSON NULL,
    body MEDIUMTEXT NULL,
    created_at DATETIME(3) NOT NULL,
    PRIMARY KEY (token_id, idempotency_key),
    KEY idempotency_created (created_at)
  )`,
  `CREATE TABLE IF NOT EXISTS audit (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at DATETIME(3) NOT NULL,
    token_id VARCHAR(40) NULL,
    action VARCHAR(64) NOT NULL,
    resource VARCHAR(160) NOT NULL,
    detail JSON NOT NULL
  )`,
];

export class Foundation1763800000001 implements MigrationInterface {
  readonly name = 'Foundation1763800000001';

  async up(runner: QueryRunner): Promise<void> {
    for (const table of TABLES) await runner.query(`${table} ${TABLE}`);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of [...TABLES].reverse())
      await runner.query(`DROP TABLE ${/CREATE TABLE IF NOT EXISTS (\w+)/.exec(table)?.[1]}`);
  }
}
