/**
 * Rows put into the database in bulk: blocks as if they had been imported, jobs as if they had run, long ago. Enough of them for what the API
 * does with them; what a center removes after a day (outbox, inbox) is left out.
 */
import { newId } from '@openservice/domain';
import { createPool, type Pool, type RowDataPacket } from 'mysql2/promise';
import type { Lab } from '../lab.ts';
import { withoutIndexes } from './bulk.ts';

const CHUNK = 25_000;
/** From so many on it is faster to make the indexes anew afterwards. */
const MANY = 100_000;
const DIGITS = `(${Array.from({ length: 10 }, (_, digit) => `SELECT ${digit} AS d`).join(' UNION ALL ')})`;
/** 0 … 99 999; neither MySQL nor MariaDB has a table of numbers that the other has as well. */
const NUMBERS = `(SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d AS i
  FROM ${['e', 'd', 'c', 'b', 'a'].map((name) => `${DIGITS} ${name}`).join(' CROSS JOIN ')})`;

/** Blocks, and jobs, of one set. */
export const A_SET = 100;
const LONG_AGO = "TIMESTAMP('2025-01-01 00:00:00') + INTERVAL n SECOND";

/** The id of row `n`; sorts by `n`, and before all that were made in earnest. */
export const rowId = (kind: 'block' | 'job' | 'set' | 'pool', n: number): string =>
  `${kind}-0000000000000000${String(n).padStart(10, '0')}`;
/** Sorts before every job that is made from now on: the first part of an id is its time, the rest is random. */
export const beforeNow = (): string => newId('job').slice(0, 'job-'.length + 10);
const idSql = (kind: 'block' | 'job' | 'set', n: string): string => `CONCAT('${kind}-0000000000000000', LPAD(${n}, 10, '0'))`;

/** No two are alike, and they are in no order. */
const NAME = "CONCAT('disk-', LPAD((n * 7919) MOD 1000003, 7, '0'))";
const STATE = "IF(n MOD 50 = 0, 'failed', IF(n MOD 100 = 1, 'cancelled', 'succeeded'))";
const KIND = "ELT(1 + n MOD 4, 'import', 'upload', 'verify', 'copy')";
const NODE = "ELT(1 + n MOD 3, 'node-1', 'node-2', ?)";
const BLOCK_STATE = "IF(n MOD 50 = 49, 'trashed', IF(n MOD 50 = 48, 'error', 'available'))";
/** The row of the `n`th block that is available. */
export const available = (n: number): number => 50 * Math.floor(n / 48) + (n % 48);
const SET = idSql('set', `FLOOR(n / ${A_SET})`);
const DIGEST = "REPEAT('0', 64)";

interface Counted extends RowDataPacket {
  n: number | string;
}

export interface RowsOptions {
  /** A node that exists; the blocks lie in a directory of it. */
  nodeId: string;
  poolId: string;
}

export class Rows {
  readonly database: Pool;
  readonly #options: RowsOptions;
  #count = 0;

  constructor(lab: Lab, options: RowsOptions) {
    this.database = createPool({ uri: lab.stack.stack.mysql.url, timezone: 'Z', connectionLimit: 4 });
    this.#options = options;
  }

  /** The pool. Rows that are there from before are gone on with. */
  async begin(): Promise<void> {
    const { nodeId, poolId } = this.#options;
    await this.database.query(
      `INSERT IGNORE INTO pools (id, name, type, state, node_id, path, fencing, created_at)
       VALUES (?, ?, 'local', 'available', ?, ?, 'strict', UTC_TIMESTAMP(3))`,
      [poolId, `rows-${nodeId}`, nodeId, `/nowhere/${nodeId}`],
    );
    const [[row]] = await this.database.query<Counted[]>('SELECT COUNT(*) AS n FROM jobs WHERE id < ?', [rowId('job', 10 ** 9)]);
    this.#count = Number(row?.n ?? 0);
  }

  /** As many blocks with a replica each, and as many jobs with their history, as `count` says, in all. */
  async growTo(count: number, signal: AbortSignal): Promise<void> {
    const put = async (): Promise<void> => {
      for (let from = this.#count; from < count; from += CHUNK) {
        signal.throwIfAborted();
        const rows = `(SELECT i + ${from} AS n FROM ${NUMBERS} x WHERE i < ${Math.min(CHUNK, count - from)} ORDER BY i) s`;
        await this.#blocks(rows);
        await this.#jobs(rows);
      }
    };
    if (count - this.#count < MANY) await put();
    else await withoutIndexes(this.database, ['jobs', 'blocks', 'job_transitions', 'replicas'], put);
    this.#count = count;
    await this.database.query('UPDATE pools SET block_count = ?, stored_bytes = ? WHERE id = ?', [
      count,
      count * 2 ** 30,
      this.#options.poolId,
    ]);
    // What a server does by itself sooner or later: it then knows what is rare.
    await this.database.query('ANALYZE TABLE sets, blocks, replicas, jobs, job_transitions, job_attempts');
  }

  async #blocks(rows: string): Promise<void> {
    await this.database.query(
      `INSERT INTO sets (id, name, description, labels, block_count, created_at)
       SELECT ${SET}, ${NAME}, '', '{}', ${A_SET}, ${LONG_AGO} FROM ${rows} WHERE n MOD ${A_SET} = 0`,
    );
    await this.database.query(
      `INSERT INTO blocks (id, name, set_id, size, chunk_size, state, root_digest, source, created_at)
       SELECT ${idSql('block', 'n')}, ${NAME}, ${SET}, 1073741824, 1048576,
         ${BLOCK_STATE}, ${DIGEST}, '{"type":"file","path":"/import/disk.img"}',
         ${LONG_AGO} FROM ${rows}`,
    );
    await this.database.query(
      `INSERT INTO replicas (block_id, pool_id, state, stored_bytes, created_at)
       SELECT ${idSql('block', 'n')}, ?, 'available', 1073741824, ${LONG_AGO} FROM ${rows}`,
      [this.#options.poolId],
    );
  }

  async #jobs(rows: string): Promise<void> {
    const { nodeId, poolId } = this.#options;
    await this.database.query(
      `INSERT INTO jobs (id, kind, state, node_id, block_id, set_id, attempt, fence, event_seq, params, claims, bytes_total, bytes_done,
         traceparent, created_at, started_at, finished_at)
       SELECT ${idSql('job', 'n')}, ${KIND}, ${STATE}, ${NODE}, ${idSql('block', 'n')}, ${SET}, 1, n + 1, 3,
         JSON_OBJECT('pool_ids', ?), JSON_ARRAY(JSON_OBJECT('resource', CONCAT('block:', ${idSql('block', 'n')}), 'mode', 'shared')),
         1073741824, 1073741824, '00-00000000000000000000000000000001-0000000000000001-01', ${LONG_AGO}, ${LONG_AGO}, ${LONG_AGO} FROM ${rows}`,
      [nodeId, poolId],
    );
    await this.database.query(
      `INSERT INTO job_transitions (job_id, attempt, from_state, to_state, at)
       SELECT ${idSql('job', 'n')}, 1, ELT(k, NULL, 'queued', 'running'), ELT(k, 'queued', 'running', ${STATE}), ${LONG_AGO}
       FROM ${rows} CROSS JOIN (SELECT 1 AS k UNION ALL SELECT 2 UNION ALL SELECT 3) steps`,
    );
    await this.database.query(
      `INSERT INTO job_attempts (job_id, attempt, node_id, created_at) SELECT ${idSql('job', 'n')}, 1, ${NODE}, ${LONG_AGO} FROM ${rows}`,
      [nodeId],
    );
  }

  /** How many jobs of the node are in `state`, of those made after the id `since`. */
  async jobs(nodeId: string, state: string, since: string): Promise<number> {
    const [[row]] = await this.database.query<Counted[]>(
      'SELECT COUNT(*) AS n FROM jobs FORCE INDEX (jobs_node_state) WHERE node_id = ? AND state = ? AND id > ?',
      [nodeId, state, since],
    );
    return Number(row?.n ?? 0);
  }

  /** Of the node's jobs made after `since`: s from the row to the end of the one that took longest. */
  async longest(nodeId: string, since: string): Promise<number> {
    const [[row]] = await this.database.query<Counted[]>(
      'SELECT MAX(TIMESTAMPDIFF(MICROSECOND, created_at, finished_at)) / 1000000 AS n FROM jobs WHERE node_id = ? AND id > ?',
      [nodeId, since],
    );
    return Number(row?.n ?? 0);
  }

  async end(): Promise<void> {
    await this.database.end();
  }
}
