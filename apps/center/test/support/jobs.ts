/** Jobs that a test started over HTTP: what they were told, and their ends as a node would tell them. */
import type { JobEventType, JobResult } from '@openservice/protocol';
import { inTransaction } from '@openservice/store';
import { applyEvent } from '../../src/ingest/apply-event.ts';
import { prepare } from '../../src/rpc/prepare.ts';
import { record } from '../../src/rpc/record.ts';
import { DIGEST, SIZE } from './database.ts';
import { event, PROGRESS } from './events.ts';
import type { HttpCenter } from './http-center.ts';

type Center = Pick<HttpCenter, 'database'>;

export interface JobRow {
  id: string;
  kind: string;
  state: string;
  node_id: string;
  attempt: number;
  fence: number;
  event_seq: number;
  result_block_id: string | null;
  // biome-ignore lint/suspicious/noExplicitAny: parameters of every kind
  params: any;
}

export async function jobOf({ database }: Center, id: string): Promise<JobRow> {
  const [row] = await database.query('SELECT * FROM jobs WHERE id = ?', [id]);
  if (row === undefined) throw new Error(`There is no job ${id}.`);
  const params = typeof row.params === 'string' ? JSON.parse(row.params) : row.params;
  return { ...row, fence: Number(row.fence), params };
}

/** The next event of the job's current attempt. */
export async function tell(center: Center, id: string, type: JobEventType, payload?: unknown): Promise<void> {
  const job = await jobOf(center, id);
  const made = event(id, job.attempt, job.event_seq + 1, type, payload, job.node_id);
  const outcome = await inTransaction(center.database, (manager) => applyEvent(manager, made));
  if (outcome !== 'applied') throw new Error(`The event was ${outcome}.`);
}

export function result(
  replicas: Record<string, JobResult['replicas'][number]['state']>,
  more: Partial<JobResult> = {},
): JobResult {
  return {
    root_digest: DIGEST,
    size: SIZE,
    replicas: Object.entries(replicas).map(([pool_id, state]) => ({ pool_id, state, stored_bytes: 7000 })),
    verified: false,
    progress: PROGRESS,
    damage: [],
    ...more,
  };
}

/** It ran and succeeded with that. */
export async function succeed(center: Center, id: string, end: JobResult): Promise<void> {
  await tell(center, id, 'running');
  await tell(center, id, 'succeeded', end);
}

export async function fail(center: Center, id: string, code = 'access_denied'): Promise<void> {
  const error = { code, message: 'The key was refused.' };
  await tell(center, id, 'failed', { error, transient: false, progress: null });
}

/** Leave to commit for the current attempt. */
export async function commit(center: Center, id: string): Promise<boolean> {
  const { attempt, fence, node_id } = await jobOf(center, id);
  return (await prepare(center, { job_id: id, attempt, fence, result: result({}) }, node_id)).granted;
}

export async function recordMove(
  center: Center,
  id: string,
  end: JobResult,
  changes: Partial<{ attempt: number; fence: number; node: string }> = {},
): Promise<boolean> {
  const job = await jobOf(center, id);
  const request = { job_id: id, attempt: changes.attempt ?? job.attempt, fence: changes.fence ?? job.fence, result: end };
  return (await record(center, request, changes.node ?? job.node_id)).recorded;
}
