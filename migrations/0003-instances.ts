/** CDM instances: blocks that are served live. Expands alone. */
import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLE = 'ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin';

const TABLES = [
  `CREATE TABLE IF NOT EXISTS cdm_instances (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    name VARCHAR(128) NOT NULL,
    node_id VARCHAR(64) NOT NULL,
    set_id VARCHAR(40) NULL,
    state ENUM('loading','loaded','removing','error') NOT NULL,
    read_only TINYINT(1) NOT NULL,
    error_code VARCHAR(64) NULL,
    error_message VARCHAR(2000) NULL,
    created_at DATETIME(3) NOT NULL,
    UNIQUE KEY cdm_instances_name (name),
    KEY cdm_instances_node (node_id)
  )`,
  `CREATE TABLE IF NOT EXISTS cdm_instance_disks (
    instance_id VARCHAR(40) NOT NULL,
    disk_index INT NOT NULL,
    block_id VARCHAR(40) NOT NULL,
    pool_id VARCHAR(40) NOT NULL,
    size BIGINT NOT NULL,
    overlay_bytes BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (instance_id, disk_index),
    KEY cdm_instance_disks_block (block_id),
    KEY cdm_instance_disks_pool (pool_id)
  )`,
];

export class Instances1764000000003 implements MigrationInterface {
  readonly name = 'Instances1764000000003';

  async up(runner: QueryRunner): Promise<void> {
    for (const table of TABLES) await runner.query(`${table} ${TABLE}`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE IF EXISTS cdm_instance_disks');
    await runner.query('DROP TABLE IF EXISTS cdm_instances');
  }
}
