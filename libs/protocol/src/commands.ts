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

/** What a pool keeps beside a block's content, so that the center's rows can be made again from the pool alone. */
export const blockMetaSchema = z.object({
  name: z.string(),
  set_id: z.string().nullable(),
  set_name: z.string().nullable(),
  parent_block_id: z.string().nullable(),
  /** RFC 3339. */
  created_at: z.string(),
});
export type BlockMeta = z.infer<typeof blockMetaSchema>;

const fileRef = z.object({ type: z.literal('file'), node_id: z.string(), path: z.string() });
const nbdRef = z.object({ type: z.literal('nbd'), uri: z.string() });

/** What an image is in: `raw`, or a format that qemu-nbd reads. */
export const IMAGE_FORMATS = ['raw', 'qcow2', 'vmdk', 'vpc', 'vhdx'] as const;
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** What the source was when the job was accepted; one that differs when it is read fails the job. */
const sourceIdentity = z.object({ etag: z.string().nullable(), last_modified: z.string().nullable() });

export const sourceRefSchema = z.discriminatedUnion('type', [
  fileRef.extend({ format: z.enum(IMAGE_FORMATS).default('raw') }),
  z.object({
    type: z.literal('http'),
    url: z.string(),
    format: z.enum(IMAGE_FORMATS).default('raw'),
    identity: sourceIdentity.optional(),
  }),
  nbdRef,
  /** What a client sent with PUT /blocks/{id}/content; lies on that node. */
  z.object({ type: z.literal('content'), node_id: z.string() }),
]);
export type SourceRef = z.infer<typeof sourceRefSchema>;

/** Bytes. */
const extentSchema = z.object({ offset: z.number().int().nonnegative(), length: z.number().int().positive() });

const common = {
  /** Bytes a second; null or left out: no limit. */
  bandwidth: z.number().positive().nullable().optional(),
};
const written = { ...common, meta: blockMetaSchema.optional() };

/** A disk of an instance, by its place in it; `pool_id`: the replica that is read. */
const instanceDisk = z.object({ index: z.number().int().nonnegative(), block: blockRef, pool_id: z.string() });
export type InstanceDisk = z.infer<typeof instanceDisk>;

/** What a disk of an instance becomes: a new block in `pool_id`, whose parent is the disk's base. */
const savedDisk = z.object({
  index: z.number().int().nonnegative(),
  block_id: z.string(),
  pool_id: z.string(),
  meta: blockMetaSchema.optional(),
});
export type SavedDisk = z.infer<typeof savedDisk>;

/** What each kind of job is told. */
export const jobParams = {
  import: z.object({
    ...written,
    block_id: z.string(),
    /** Exact bytes seen when the job was accepted; a source that differs now fails the job. */
    size: z.number().int().nonnegative(),
    chunk_size: z.number().int().positive(),
    pool_id: z.string(),
    source: sourceRefSchema,
    /** The block that this one goes on from, and where to read it. */
    parent: z.object({ block: blockRef, pool_id: z.string() }).nullable().default(null),
    /** With a parent: only these are read, everything else is the parent's, which is checked by sample. Null: all is read. */
    changed_extents: z.array(extentSchema).max(100_000).nullable().default(null),
  }),
  upload: z.object({ ...written, block: blockRef, from_pool_id: z.string(), pool_id: z.string() }),
  /** A new block with the content of `block`. */
  copy: z.object({ ...written, block: blockRef, from_pool_id: z.string(), pool_id: z.string(), new_block_id: z.string() }),
  /** The replica in `from_pool_id` goes once that in `pool_id` was read back and the center has recorded it. */
  move: z.object({ ...written, block: blockRef, from_pool_id: z.string(), pool_id: z.string() }),
  restore: z.object({
    ...written,
    block: blockRef,
    from_pool_id: z.string(),
    target: z.discriminatedUnion('type', [z.object({ type: z.literal('pool'), pool_id: z.string() }), fileRef, nbdRef]),
    /** Chunks that are equal in the target already are not written; the target may exist. */
    delta: z.boolean().default(false),
  }),
  /** `trash`: the replicas can be brought back by `undelete` until they are deleted without it. */
  delete: z.object({
    block_id: z.string(),
    pool_ids: z.array(z.string()),
    trash: z.boolean().default(false),
    /** With `trash`: for how long, ms. The center's to know; a node makes nothing of it. */
    trash_ms: z.number().int().positive().optional(),
    /** Of a block that stays by its other replicas. The center's to know: tried again when those have gone, it must not become the block's end. */
    replica_only: z.boolean().optional(),
  }),
  undelete: z.object({ block: blockRef, pool_ids: z.array(z.string()).min(1) }),
  verify: z.object({
    ...common,
    block: blockRef,
    pool_ids: z.array(z.string()).min(1),
    /** Part of the chunks that are read, chosen anew by each job: more than 0, 1 is all. */
    sample: z.number().positive().max(1).default(1),
    /** Damaged chunks are written anew from one of these pools. */
    repair_from: z.array(z.string()).default([]),
  }),
  gc: z.object({ ...common, pool_id: z.string() }),
  /** Every block that the pool holds. */
  pool_verify: z.object({ ...common, pool_id: z.string(), sample: z.number().positive().max(1).default(1) }),
  rebuild: z.object({ pool_id: z.string() }),
  /** All disks of the instance, or none. Ends when they can be read over NBD. Repeated: they are there already. */
  load: z.object({
    instance_id: z.string(),
    name: z.string(),
    read_only: z.boolean(),
    disks: z.array(instanceDisk).min(1).max(256),
  }),
  /** What was written is saved first where `save` names new blocks; then the disks go, and with them what was written. */
  unload: z.object({ ...common, instance_id: z.string(), save: z.array(savedDisk).nullable().default(null) }),
  /** New blocks of what the disks hold at one moment; the instance goes on. */
  save: z.object({ ...common, instance_id: z.string(), save: z.array(savedDisk).min(1) }),
  /** The disks are their blocks again; clients are disconnected. */
  rewind: z.object({ instance_id: z.string() }),
  /** Each disk's base is copied into a pool near the node while it is used, and read from there once it is whole. */
  hydrate: z.object({ ...common, instance_id: z.string(), pool_id: z.string(), disks: z.array(instanceDisk).min(1) }),
} as const satisfies Record<(typeof JOB_KINDS)[number], z.ZodType>;
export type JobParams = { [Kind in keyof typeof jobParams]: z.infer<(typeof jobParams)[Kind]> };

export const runPayload = z.object({
  kind: z.enum(JOB_KINDS),
  /** Fencing token of this attempt: larger than any before it on the same block. */
  fence: z.number().int().positive(),
  params: z.unknown(),
  /** 1 runs before 9 where both wait on a node. */
  priority: z.number().int().min(1).max(9).default(5),
});
export type RunPayload = z.infer<typeof runPayload>;

export const cancelPayload = z.object({ reason: z.string() });

export const commandSchema = z.discriminatedUnion('type', [
  envelopeSchema.extend({ type: z.literal('run'), payload: runPayload }),
  envelopeSchema.extend({ type: z.literal('cancel'), payload: cancelPayload }),
  /** Stop the attempt at its next checkpoint and keep it: `paused` follows, or the attempt's end where it makes no checkpoint before that. */
  envelopeSchema.extend({ type: z.literal('pause'), payload: z.object({}) }),
  /** Go on with a paused attempt: `running` follows. Also takes back a `pause` that has not taken effect. */
  envelopeSchema.extend({ type: z.literal('resume'), payload: z.object({}) }),
  /** Stop the attempt at its next checkpoint and give it back: `yielded` follows, and the attempt is over. The center makes a new one. */
  envelopeSchema.extend({ type: z.literal('drain'), payload: z.object({}) }),
  envelopeSchema.extend({ type: z.literal('sync'), payload: z.object({}) }),
]);
export type Command = z.infer<typeof commandSchema>;
export type RunCommand = Extract<Command, { type: 'run' }>;
