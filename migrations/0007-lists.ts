/**
 * What is found among very many: lists of a million jobs and blocks (an index for each order that a list may be asked for, with the filters that
 * leave much of the table; each ends with the id by itself, as all indexes of these tables do), and claims of thousands of jobs on one pool.
 * Expands alone.
 */
import type { MigrationInterface, QueryRunner } from 'typeorm';

const INDEXES: [table: string, index: string, columns: string][] = [
  ['jobs', 'jobs_created', 'created_at'],
  ['jobs', 'jobs_state_created', 'state, created_at'],
  ['jobs', 'jobs_kind_created', 'kind, created_at'],
  ['jobs', 'jobs_node_created', 'node_id, created_at'],
  ['jobs', 'jobs_kind_state', 'kind, state'],
  // Who has something exclusively, among the many that may share it.
  ['claims', 'claims_mode', 'resource, mode'],
  ['blocks', 'blocks_created', 'created_at'],
  ['blocks', 'blocks_state_created', 'state, created_at'],
  ['blocks', 'blocks_state_name', 'state, name'],
];

export class Lists1764400000007 implements MigrationInterface {
  readonly name = 'Lists1764400000007';

  async up(runner: QueryRunner): Promise<void> {
    for (const [table, index, columns] of INDEXES) {
      if (!(await hasIndex(runner, table, index))) await runner.query(`CREATE INDEX ${index} ON ${table} (${columns})`);
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const [table, index] of INDEXES) await runner.query(`DROP INDEX ${index} ON ${table}`);
  }
}

async function hasIndex(runner: QueryRunner, table: string, index: string): Promise<boolean> {
  const rows: unknown[] = await runner.query(
    'SELECT 1 FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = ? AND index_name = ? LIMIT 1',
    [table, index],
  );
  return rows.length > 0;
}
