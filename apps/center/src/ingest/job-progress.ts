/** Progress in the job's row: what people see, and a sign of life that moves the deadline. */
import { JOB_STATE_RULES, TERMINAL_JOB_STATES } from '@openservice/domain';
import type { Progress } from '@openservice/protocol';
import type { DataSource, EntityManager } from '@openservice/store';
import { fromNow } from '../jobs/clock.ts';

export interface JobProgress extends Progress {
  job_id: string;
  attempt: number;
}

const ENDED = TERMINAL_JOB_STATES.map((state) => `'${state}'`).join(', ');
const AT_NODE = "'accepted', 'running', 'preparing', 'committing'";
const ALIVE = fromNow(JOB_STATE_RULES.running.deadlineMs ?? 0);

/** Writes many jobs' progress in one statement. Ignored: jobs that ended, and attempts that are no longer current. */
export async function writeProgress(database: DataSource | EntityManager, batch: readonly JobProgress[]): Promise<void> {
  if (batch.length === 0) return;
  const names = ['id', 'attempt', 'total', 'done', 'sent', 'skipped', 'rate', 'eta'];
  const first = `SELECT ${names.map((name) => `? AS ${name}`).join(', ')}`;
  const rest = ' UNION ALL SELECT ?, ?, ?, ?, ?, ?, ?, ?'.repeat(batch.length - 1);
  await database.query(
    `UPDATE jobs j JOIN (${first}${rest}) p ON j.id = CONVERT(p.id USING utf8mb4) COLLATE utf8mb4_bin AND j.attempt = p.attempt
     SET j.bytes_total = p.total, j.bytes_done = p.done, j.bytes_sent = j.bytes_sent_before + p.sent,
         j.bytes_skipped = p.skipped, j.rate = p.rate, j.eta_ms = p.eta,
         j.deadline_at = IF(j.state IN (${AT_NODE}), GREATEST(j.deadline_at, ${ALIVE}), j.deadline_at)
     WHERE j.state NOT IN (${ENDED})`,
    batch.flatMap((p) => [p.job_id, p.attempt, p.bytes_total, p.bytes_done, p.bytes_sent, p.bytes_skipped, p.rate, p.eta_ms]),
  );
}
