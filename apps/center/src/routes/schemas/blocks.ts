import { z } from '@hono/zod-openapi';
import { absolutePath, bytes, diskSize, idOf, name, nodeId, time } from './fields.ts';
import { listQuery, nameFilter, nextMarker } from './lists.ts';

const fileSource = z.strictObject({ type: z.literal('file'), node_id: nodeId.optional(), path: absolutePath });
/** Sources of the API that have no driver yet: taken here so that the refusal can say so by name. */
const httpSource = z.strictObject({ type: z.literal('http'), url: z.string().min(1).max(2048) });
const nbdSource = z.strictObject({ type: z.literal('nbd'), uri: z.string().min(1).max(2048) });

export const createBlockBody = z
  .strictObject({
    name: name(255),
    pool_id: idOf('pool'),
    set_id: idOf('set').optional(),
    size: diskSize.optional(),
    source: z.discriminatedUnion('type', [fileSource, httpSource, nbdSource], 'must be one of file, http, nbd').optional(),
  })
  .openapi('CreateBlock');
export type CreateBlock = z.output<typeof createBlockBody>;

export const uploadBody = z.strictObject({ pool_id: idOf('pool'), from_pool_id: idOf('pool').optional() }).openapi('Upload');
export type UploadBlock = z.output<typeof uploadBody>;

const fileTarget = z.strictObject({ type: z.literal('file'), node_id: nodeId.optional(), path: absolutePath });
const nbdTarget = z.strictObject({ type: z.literal('nbd'), uri: z.string().min(1).max(2048) });
const sourceTarget = z.looseObject({ type: z.literal('source') });

export const restoreBody = z
  .strictObject({
    pool_id: idOf('pool').optional(),
    target: z.discriminatedUnion('type', [fileTarget, nbdTarget, sourceTarget], 'must be one of file, nbd, source').optional(),
    from_pool_id: idOf('pool').optional(),
  })
  .refine((body) => (body.pool_id === undefined) !== (body.target === undefined), {
    path: ['target'],
    message: 'give either pool_id or target, and not both',
  })
  .openapi('Restore');
export type RestoreBlock = z.output<typeof restoreBody>;

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
