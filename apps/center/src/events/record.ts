/** Events are written by the transaction that makes the change they tell of: both are there, or neither. */
import type { JobState } from '@openservice/domain';
import type { EntityManager, Job, Writer } from '@openservice/store';
import { NOW } from '../jobs/clock.ts';

export interface NewEvent {
  /** `<what>.<what it is now>`: `node.offline`. */
  type: string;
  job_id?: string | null;
  block_id?: string | null;
  node_id?: string | null;
  pool_id?: string | null;
  instance_id?: string | null;
  data: Record<string, unknown>;
}

const MAX_NOTE = 2000;

export async function recordEvent(manager: EntityManager, event: NewEvent): Promise<void> {
  const { type, job_id = null, block_id = null, node_id = null, pool_id = null, instance_id = null, data } = event;
  await manager.query(
    `INSERT INTO events (type, job_id, block_id, node_id, pool_id, instance_id, data, at) VALUES (?, ?, ?, ?, ?, ?, ?, ${NOW})`,
    [type, job_id, block_id, node_id, pool_id, instance_id, JSON.stringify(data)],
  );
}

/** A step of a job: `job.<state>`; one that stays where it is: `job.note`. The caller holds the job's row, so a job's events are in order. */
export async function recordJobEvent(
  manager: Writer,
  job: Pick<Job, 'id' | 'attempt'>,
  from: JobState | null,
  to: JobState,
  note: string | null,
): Promise<void> {
  await manager.query(
    `INSERT INTO events (type, job_id, block_id, node_id, data, at)
     SELECT ?, id, block_id, node_id, JSON_OBJECT('kind', kind, 'state', ?, 'from_state', ?, 'attempt', ?, 'note', ?), ${NOW}
     FROM jobs WHERE id = ?`,
    [from === to ? 'job.note' : `job.${to}`, to, from, job.attempt, note === null ? null : note.slice(0, MAX_NOTE), job.id],
  );
}

/** What the end of a job has made of the blocks that it had to itself, and their replicas: `block.<state>`, or `block.deleted`. */
export async function recordBlocks(manager: EntityManager, job: Pick<Job, 'id' | 'claims'>): Promise<void> {
  const ids = job.claims.flatMap(({ resource, mode }) =>
    mode === 'exclusive' && resource.startsWith('block:') ? [resource.slice('block:'.length)] : [],
  );
  if (ids.length === 0) return;
  await manager.query(
    `INSERT INTO events (type, job_id, block_id, data, at)
     SELECT CONCAT('block.', COALESCE(b.state, 'deleted')), ?, w.id, JSON_OBJECT('state', COALESCE(b.state, 'deleted'),
       'name', b.name, 'set_id', b.set_id, 'replicas', JSON_EXTRACT(COALESCE((SELECT JSON_ARRAYAGG(JSON_OBJECT('pool_id', r.pool_id,
       'state', r.state)) FROM replicas r WHERE r.block_id = b.id), JSON_ARRAY()), '$')), ${NOW}
     FROM (SELECT ? AS id${' UNION ALL SELECT ?'.repeat(ids.length - 1)}) w
     LEFT JOIN blocks b ON b.id = CONVERT(w.id USING utf8mb4) COLLATE utf8mb4_bin`,
    [job.id, ...ids],
  );
}
