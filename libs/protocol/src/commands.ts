/** Commands, center → node. Secrets never travel in them: a node asks for a pool's spec when it opens the pool. */
import { JOB_KINDS } from '@openservice/domain';
import { z } from 'zod';
import { envelopeSchema } from './envelope.ts';

const blockRef = z.object({
  id: z.string(),
  /** Bytes. */
  size: z.number().int().nonnegative(),
  chunk_size: z.number().int().positive(),
  /** Hex. */
  root_digest: z.string(),
});
export type BlockRef = z.infer<typeof blockRef>;

const fileRef = z.object({ type: z.literal('file'), node_id: z.string(), path: z.string() });

/** What each kind of job is told. `bandwidth` (bytes a second) may stand in any: null is no limit. */
export const jobParams = {
  import: z.object({
    block_id: z.string(),
    /** Exact bytes seen when the job was accepted; a source that differs now fails the job. */
    size: z.number().int().nonnegative(),
    chunk_size: z.number().int().positive(),
    pool_id: z.string(),
    source: fileRef,
  }),
  upload: z.object({ block: blockRef, from_pool_id: z.string(), pool_id: z.string() }),
  restore: z.object({
    block: blockRef,
    from_pool_id: z.string(),
    target: z.discriminatedUnion('type', [z.object({ type: z.literal('pool'), pool_id: z.string() }), fileRef]),
  }),
  delete: z.object({ block_id: z.string(), pool_ids: z.array(z.string()) }),
  verify: z.object({ block: blockRef, pool_ids: z.array(z.string()).min(1) }),
} as const satisfies Record<(typeof JOB_KINDS)[number], z.ZodType>;
export type JobParams = { [Kind in keyof typeof jobParams]: z.infer<(typeof jobParams)[Kind]> };

export const runPayload = z.object({
  kind: z.enum(JOB_KINDS),
  /** Fencing token of this attempt: larger than any before it on the same block. */
  fence: z.number().int().positive(),
  params: z.unknown(),
});
export type RunPayload = z.infer<typeof runPayload>;

export const cancelPayload = z.object({ reason: z.string() });

export const commandSchema = z.discriminatedUnion('type', [
  envelopeSchema.extend({ type: z.literal('run'), payload: runPayload }),
  envelopeSchema.extend({ type: z.literal('cancel'), payload: cancelPayload }),
  envelopeSchema.extend({ type: z.literal('pause'), payload: z.object({}) }),
  envelopeSchema.extend({ type: z.literal('drain'), payload: z.object({}) }),
  envelopeSchema.extend({ type: z.literal('sync'), payload: z.object({}) }),
]);
export type Command = z.infer<typeof commandSchema>;
export type RunCommand = Extract<Command, { type: 'run' }>;
