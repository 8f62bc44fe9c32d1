/** Jobs of one node put into the database at once, as accepted: their rows, their history, their commands in the outbox. */
import { newId } from '@openservice/domain';
import type { Pool, ResultSetHeader } from 'mysql2/promise';
import { available, rowId } from './rows.ts';

const AT_ONCE = 500;
const TRACE = '00-00000000000000000000000000000001-0000000000000001-01';

export async function acceptJobs(database: Pool, nodeId: string, count: number): Promise<void> {
  const connection = await database.getConnection();
  try {
    // One commit: the relay finds all of them at its next look.
    await connection.beginTransaction();
    for (let from = 0; from < count; from += AT_ONCE) {
      const jobs = Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, i) => ({
        id: newId('job'),
        block: rowId('block', available(from + i)),
      }));
      const values = (one: string): string => jobs.map(() => one).join(', ');
      const [{ insertId }] = await connection.query<ResultSetHeader>(
        `INSERT INTO job_attempts (job_id, attempt, node_id, created_at) VALUES ${values('(?, 1, ?, UTC_TIMESTAMP(3))')}`,
        jobs.flatMap(({ id }) => [id, nodeId]),
      );
      const params = jobs.map(({ block }) =>
        JSON.stringify({
          block: { id: block, size: 1 << 30, chunk_size: 1 << 20, root_digest: '0'.repeat(64) },
          pool_ids: [rowId('pool', 1)],
          sample: 1,
          repair_from: [],
        }),
      );
      await connection.query(
        `INSERT INTO jobs (id, kind, state, node_id, block_id, attempt, fence, params, claims, traceparent, deadline_at, created_at)
         VALUES ${values("(?, 'verify', 'queued', ?, ?, 1, ?, ?, '[]', ?, UTC_TIMESTAMP(3) + INTERVAL 1 HOUR, UTC_TIMESTAMP(3))")}`,
        jobs.flatMap(({ id, block }, i) => [id, nodeId, block, insertId + i, params[i], TRACE]),
      );
      await connection.query(
        `INSERT INTO job_transitions (job_id, attempt, from_state, to_state, at) VALUES ${values("(?, 1, NULL, 'queued', UTC_TIMESTAMP(3))")}`,
        jobs.map(({ id }) => id),
      );
      await connection.query(
        `INSERT INTO outbox (node_id, type, job_id, attempt, payload, traceparent, priority, status, next_at, created_at)
         VALUES ${values("(?, 'run', ?, 1, ?, ?, 5, 'pending', UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))")}`,
        jobs.flatMap(({ id }, i) => {
          const payload = { kind: 'verify', fence: insertId + i, params: JSON.parse(params[i] ?? '{}'), priority: 5 };
          return [nodeId, id, JSON.stringify(payload), TRACE];
        }),
      );
    }
    await connection.commit();
  } catch (error) {
    await connection.rollback();
    throw error;
  } finally {
    connection.release();
  }
}
