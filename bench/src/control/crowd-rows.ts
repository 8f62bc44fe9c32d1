/** The jobs that a crowd of nodes holds, as the database knows them: running, with a deadline that each sync puts off. */
import type { Pool, RowDataPacket } from 'mysql2/promise';
import { CROWD, crowdJob, crowdNode } from './crowd-names.ts';

const AT_ONCE = 1000;

export async function insertCrowd(database: Pool, nodes: number, each: number): Promise<void> {
  const jobs = Array.from({ length: nodes * each }, (_, n) => ({
    node: crowdNode(Math.floor(n / each)),
    id: crowdJob(Math.floor(n / each), n % each, each),
  }));
  for (let from = 0; from < jobs.length; from += AT_ONCE) {
    const some = jobs.slice(from, from + AT_ONCE);
    const values = (one: string): string => some.map(() => one).join(', ');
    await database.query(
      `INSERT INTO jobs (id, kind, state, node_id, attempt, fence, event_seq, params, claims, traceparent, deadline_at, created_at, started_at)
       VALUES ${values("(?, 'import', 'running', ?, 1, 1, 2, '{}', '[]', '', UTC_TIMESTAMP(3) + INTERVAL 3 MINUTE, UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))")}`,
      some.flatMap(({ id, node }) => [id, node]),
    );
    await database.query(
      `INSERT INTO job_attempts (job_id, attempt, node_id, created_at) VALUES ${values('(?, 1, ?, UTC_TIMESTAMP(3))')}`,
      some.flatMap(({ id, node }) => [id, node]),
    );
    await database.query(
      `INSERT INTO job_transitions (job_id, attempt, from_state, to_state, at) VALUES ${values("(?, 1, 'queued', 'running', UTC_TIMESTAMP(3))")}`,
      some.map(({ id }) => id),
    );
  }
}

/** Nodes and jobs that are nobody's any more must not be waited for, or sent elsewhere. */
export async function deleteCrowd(database: Pool): Promise<void> {
  for (const table of ['jobs', 'job_attempts', 'outbox', 'events']) {
    await database.query(`DELETE FROM ${table} WHERE node_id LIKE '${CROWD}%'`);
  }
  await database.query("DELETE FROM job_transitions WHERE job_id LIKE 'job-0000000000000001%'");
  await database.query(`DELETE FROM nodes WHERE id LIKE '${CROWD}%'`);
}

export interface CrowdState {
  /** Nodes that are there, and those of them that are not online. */
  nodes: number;
  away: number;
  /** s since the database heard of the one that was silent for longest. */
  silentS: number;
  /** Jobs that are still with their first attempt, running. */
  running: number;
}

export async function crowdState(database: Pool): Promise<CrowdState> {
  const [[row]] = await database.query<(RowDataPacket & Record<string, number | string | null>)[]>(
    `SELECT COUNT(*) AS nodes, COALESCE(SUM(state <> 'online'), 0) AS away,
       COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, last_seen_at, UTC_TIMESTAMP(3))), 0) / 1000000 AS silent
     FROM nodes WHERE id LIKE '${CROWD}%'`,
  );
  const [[jobs]] = await database.query<(RowDataPacket & { n: number | string })[]>(
    `SELECT COUNT(*) AS n FROM jobs WHERE node_id LIKE '${CROWD}%' AND state = 'running' AND attempt = 1`,
  );
  return {
    nodes: Number(row?.nodes),
    away: Number(row?.away),
    silentS: Number(row?.silent),
    running: Number(jobs?.n),
  };
}
