/** Events, node → center. Each is kept in the node's outbox until a center says that it has it. */
import { z } from 'zod';
import { envelopeSchema } from './envelope.ts';

const bytes = z.number().int().nonnegative();

/** Where a transfer stands. All in bytes of the disk, but bytes_sent: bytes handed to the target's wire or disk, every try counted. */
export const progressSchema = z.object({
  bytes_total: bytes,
  bytes_done: bytes,
  bytes_sent: bytes,
  bytes_skipped: bytes,
  /** bytes_done a second over the last seconds. */
  rate: z.number().nonnegative(),
  eta_ms: z.number().int().nonnegative().nullable(),
});
export type Progress = z.infer<typeof progressSchema>;

export const progressMessage = progressSchema.extend({
  v: z.literal(1),
  job_id: z.string(),
  attempt: z.number().int().positive(),
  node: z.string(),
});
export type ProgressMessage = z.infer<typeof progressMessage>;

export const failureSchema = z.object({ code: z.string().max(64), message: z.string().max(2000) });

/** A replica as the job left it. */
const replicaResult = z.object({
  pool_id: z.string(),
  /** Of which block; left out: of the job's own. */
  block_id: z.string().optional(),
  state: z.enum(['available', 'removed', 'trashed', 'damaged']),
  stored_bytes: bytes,
});

export const jobResult = z.object({
  /** Hex; the content that was read or written. */
  root_digest: z.string().nullable(),
  size: bytes.nullable(),
  replicas: z.array(replicaResult),
  /** New blocks of a job that makes several. */
  blocks: z
    .array(z.object({ id: z.string(), size: bytes, root_digest: z.string() }))
    .max(256)
    .optional(),
  /** Verified now (a verify, or a full read back): the center stamps the replicas. */
  verified: z.boolean(),
  progress: progressSchema.nullable(),
  /** What a verify found damaged; at most 100. */
  damage: z.array(z.object({ pool_id: z.string(), block_id: z.string().optional(), message: z.string() })).max(100),
  /** What a person should know though the job succeeded; sentences. */
  notes: z.array(z.string().max(500)).max(20).optional(),
  /** Figures of a kind of its own (gc: `freed_bytes`, …); snake_case names. */
  summary: z.record(z.string(), z.number()).optional(),
});
export type JobResult = z.infer<typeof jobResult>;

export const eventSchema = z.discriminatedUnion('type', [
  /** Journalled and queued: the center stops sending the command. */
  envelopeSchema.extend({ type: z.literal('accepted'), payload: z.object({}) }),
  /** A worker has begun (again after a restart of the node: `resumed`). */
  envelopeSchema.extend({ type: z.literal('running'), payload: z.object({ resumed: z.boolean(), at: z.string() }) }),
  envelopeSchema.extend({ type: z.literal('checkpoint'), payload: progressSchema }),
  /** Stopped at a checkpoint, on the center's word; the attempt stays in the journal until it is resumed or cancelled. */
  envelopeSchema.extend({ type: z.literal('paused'), payload: z.object({ progress: progressSchema.nullable() }) }),
  /** Stopped at a checkpoint and given back, as the node drains: the end of the attempt; what it made durable stays in the target. */
  envelopeSchema.extend({ type: z.literal('yielded'), payload: z.object({ progress: progressSchema.nullable() }) }),
  envelopeSchema.extend({ type: z.literal('preparing'), payload: progressSchema }),
  envelopeSchema.extend({ type: z.literal('succeeded'), payload: jobResult }),
  envelopeSchema.extend({
    type: z.literal('failed'),
    /** `transient`: the center may try again with a new attempt. */
    payload: z.object({ error: failureSchema, transient: z.boolean(), progress: progressSchema.nullable() }),
  }),
  envelopeSchema.extend({ type: z.literal('cancelled'), payload: z.object({ progress: progressSchema.nullable() }) }),
]);
export type JobEvent = z.infer<typeof eventSchema>;
export type JobEventType = JobEvent['type'];
