import { z } from '@hono/zod-openapi';
import { JOB_KINDS, JOB_STATES } from '@openservice/domain';
import { bytes, idOf, nodeId, time } from './fields.ts';
import { listQuery, nextMarker } from './lists.ts';

export const listJobsQuery = listQuery(idOf('job'), {
  state: z.enum(JOB_STATES).optional(),
  kind: z.enum(JOB_KINDS).optional(),
  node_id: nodeId.optional(),
  block_id: idOf('block').optional(),
  set_id: idOf('set').optional(),
}).extend({ sort: z.enum(['id', '-id', 'created_at', '-created_at']).default('id') });

export const jobView = z
  .object({
    id: z.string(),
    kind: z.enum(JOB_KINDS),
    state: z.enum(JOB_STATES),
    node_id: z.string(),
    block_id: z.string().nullable(),
    set_id: z.string().nullable(),
    result_block_id: z.string().nullable(),
    attempt: z.int(),
    priority: z.int().openapi({ description: 'Of jobs that wait, 1 goes first and 9 last.' }),
    pause_requested: z.boolean().openapi({ description: 'Its node is told to stop it at its next checkpoint.' }),
    waiting_for: z.string().nullable().openapi({ description: 'Which limits (max_jobs) keep it back; a sentence.' }),
    next_attempt_at: time.nullable().openapi({ description: 'While it waits to be tried again.' }),
    bytes_total: bytes,
    bytes_done: bytes,
    bytes_sent: bytes,
    bytes_skipped: bytes,
    rate: z.number().openapi({ description: 'Bytes of the disk a second.' }),
    eta_ms: bytes.nullable(),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    created_at: time,
    started_at: time.nullable(),
    finished_at: time.nullable(),
  })
  .openapi('Job');

const transition = z.object({
  attempt: z.int(),
  from_state: z.string().nullable(),
  to_state: z.string(),
  note: z.string().nullable(),
  at: time,
});

export const jobAnswer = z.object({
  job: jobView.extend({ result: z.record(z.string(), z.unknown()).nullable(), history: z.array(transition) }),
});
export const jobsAnswer = z.object({ jobs: z.array(jobView), next_marker: nextMarker });
export const jobAccepted = z.object({ 'job-id': z.string() });
