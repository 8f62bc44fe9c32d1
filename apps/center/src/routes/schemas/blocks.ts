import { z } from '@hono/zod-openapi';
import { bytes, idOf, time } from './fields.ts';
import { listQuery, nameFilter, nextMarker } from './lists.ts';

export const uploadBody = z.strictObject({ pool_id: idOf('pool'), from_pool_id: idOf('pool').optional() }).openapi('Upload');
export type UploadBlock = z.output<typeof uploadBody>;

export const verifyBody = z.strictObject({ from_pool_id: idOf('pool').optional() }).openapi('Verify');
export type VerifyBlock = z.output<typeof verifyBody>;

export const listBlocksQuery = listQuery(idOf('block'), {
  filter: nameFilter,
  set_id: idOf('set').optional(),
  pool_id: idOf('pool').optional(),
  state: z.enum(['creating', 'available', 'deleting', 'error']).optional(),
});

/** With `pool_id`, the replica in that pool alone. */
export const deleteBlockQuery = z.strictObject({ pool_id: idOf('pool').optional() });

const replicaView = z
  .object({
    pool_id: z.string(),
    state: z.enum(['creating', 'available', 'deleting', 'damaged']),
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
    state: z.enum(['creating', 'available', 'deleting', 'error']),
    root_digest: z.string().nullable(),
    parent_block_id: z.string().nullable(),
    source: z.record(z.string(), z.unknown()).nullable(),
    replicas: z.array(replicaView),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    created_at: time,
  })
  .openapi('Block');
export const blockAnswer = z.object({ block: blockView });
export const blocksAnswer = z.object({ blocks: z.array(blockView), next_marker: nextMarker });
export const blockJob = z.object({ 'block-id': z.string(), 'job-id': z.string() });
/** Nothing of the block was stored anywhere: it is gone already, without a job. */
export const blockGone = z.object({ 'block-id': z.string(), 'job-id': z.null() });
