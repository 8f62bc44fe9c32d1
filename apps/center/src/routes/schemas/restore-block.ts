import { z } from '@hono/zod-openapi';
import { absolutePath, idOf, nodeId } from './fields.ts';

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
