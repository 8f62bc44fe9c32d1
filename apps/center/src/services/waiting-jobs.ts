/** What keeps queued jobs back. */
import type { DataSource, Job } from '@openservice/store';

/** Of those of `jobs` in front of which a limit stands: which one, as a sentence. */
export async function waitingFor(database: DataSource, jobs: readonly Job[]): Promise<Map<string, string>> {
  const ids = jobs.filter(({ state }) => state === 'queued').map(({ id }) => id);
  const sentences = new Map<string, string>();
  if (ids.length === 0) return sentences;
  const marks = ids.map(() => '?').join(', ');
  const held = `outbox o WHERE o.job_id IN (${marks}) AND o.status = 'held' AND o.next_at <= UTC_TIMESTAMP(3)`;
  const rows = await database.query<{ job_id: string; what: string; id: string; max_jobs: number }[]>(
    `SELECT h.job_id, 'node' AS what, n.id, n.max_jobs FROM (SELECT o.job_id, o.node_id FROM ${held}) h
       JOIN nodes n ON n.id = h.node_id AND n.max_jobs IS NOT NULL
     UNION ALL SELECT h.job_id, 'pool' AS what, p.id, p.max_jobs FROM (SELECT o.job_id FROM ${held}) h
       JOIN claims c ON c.job_id = h.job_id JOIN pools p ON c.resource = CONCAT('pool:', p.id) AND p.max_jobs IS NOT NULL
     ORDER BY job_id, what, id`,
    [...ids, ...ids],
  );
  for (const { job_id, what, id, max_jobs } of rows) {
    const before = sentences.get(job_id);
    const limit = `${what} ${id} takes ${max_jobs} at a time`;
    sentences.set(
      job_id,
      before === undefined ? `Its turn: ${limit} (max_jobs).` : before.replace(' (max_jobs).', `, ${limit} (max_jobs).`),
    );
  }
  return sentences;
}
