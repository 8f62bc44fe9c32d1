import { z } from '@hono/zod-openapi';
import { bandwidth, bytes, idOf, name, priority, priorityText, time } from './fields.ts';
import { listQuery, nameFilter, nextMarker } from './lists.ts';

const fromPool = idOf('pool').optional();

export const uploadBody = z
  .strictObject({ pool_id: idOf('pool'), from_pool_id: fromPool, bandwidth, priority })
  .openapi('Upload');
export type UploadBlock = z.output<typeof uploadBody>;

/** Left out, `name` is that of the block, and the copy belongs to no set. */
export const copyBody = z
  .strictObject({
    pool_id: idOf('pool'),
    name: name(255).optional(),
    set_id: idOf('set').optional(),
    from_pool_id: fromPool,
    bandwidth,
    priority,
  })
  .openapi('Copy');
export type CopyBlock = z.output<typeof copyBody>;

export const moveBody = z.strictObject({ pool_id: idOf('pool'), from_pool_id: fromPool, bandwidth, priority }).openapi('Move');
export type MoveBlock = z.output<typeof moveBody>;

export const verifyBody = z
  .strictObject({
    from_pool_id: fromPool,
    sample: z
      .number()
      .gt(0, 'must be more than 0')
      .max(1, 'must be 1 at most')
      .default(1)
      .openapi({ description: 'Part of the chunks that are read, chosen anew by each job; 1 is all.' }),
    repair: z
      .boolean()
      .default(false)
      .openapi({ description: 'Damaged chunks are written anew from another replica where there is one.' }),
    bandwidth,
    priority,
  })
  .openapi('Verify');
export type VerifyBlock = z.output<typeof verifyBody>;

export const undeleteBody = z.strictObject({ priority }).openapi('Undelete');

const states = z.enum(['creating', 'available', 'deleting', 'trashed', 'error']);

export const listBlocksQuery = listQuery(idOf('block'), {
  filter: nameFilter,
  set_id: idOf('set').optional(),
  pool_id: idOf('pool').optional(),
  state: states.optional().openapi({ description: 'Blocks in the trash are listed with state=trashed alone.' }),
});

/** With `pool_id`, the replica in that pool alone, for good; with `purge`, the block past the trash or out of it. */
export const deleteBlockQuery = z
  .strictObject({ pool_id: fromPool, purge: z.enum(['true', 'false']).optional(), priority: priorityText })
  .refine((query) => query.pool_id === undefined || query.purge === undefined, {
    path: ['purge'],
    message: 'goes without pool_id: one replica is always removed for good',
  })
  .transform(({ pool_id, purge, priority: given }) => ({ pool_id, purge: purge === 'true', priority: given }));

export const contentQuery = z.strictObject({ priority: priorityText });

const replicaView = z
  .object({
    pool_id: z.string(),
    state: z.enum(['creating', 'available', 'deleting', 'trashed', 'damaged']),
    stored_bytes: bytes,
    root_digest: z.string().nullable(),
    verified_at: time.nullable(),
    created_at: time,
  })
  .openapi('Replica');

export const blockView = z
  .object({
    id: z.string(),
    name: z.string(),
    set_id: z.string().nullable(),
    size: bytes,
    chunk_size: bytes,
    state: states,
    root_digest: z.string().nullable(),
    parent_block_id: z.string().nullable(),
    source: z.record(z.string(), z.unknown()).nullable(),
    replicas: z.array(replicaView),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    purge_at: time
      .nullable()
      .openapi({ description: 'When a block in the trash goes for good, or one is given up that waits for its content.' }),
    created_at: time,
  })
  .openapi('Block');
export const blockAnswer = z.object({ block: blockView });
export const blocksAnswer = z.object({ blocks: z.array(blockView), next_marker: nextMarker });
export const blockJob = z.object({ 'block-id': z.string(), 'job-id': z.string() });
/** The block waits for PUT /blocks/{block_id}/content. */
export const blockWaiting = z.object({ 'block-id': z.string() });
/** Nothing of the block was stored anywhere: it is gone already, without a job. */
export const blockGone = z.object({ 'block-id': z.string(), 'job-id': z.null() });
/** Bytes that are there; the next PUT goes on from it. */
export const contentOffset = z.object({ 'block-id': z.string(), offset: bytes });
