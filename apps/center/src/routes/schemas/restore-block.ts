import { z } from '@hono/zod-openapi';
import { absolutePath, bandwidth, idOf, nodeId, priority, sourceUri } from './fields.ts';

const fileTarget = z
  .strictObject({ type: z.literal('file'), node_id: nodeId.optional(), path: absolutePath })
  .openapi({ description: 'A file or block device of a node.' });
const nbdTarget = z.strictObject({
  type: z.literal('nbd'),
  node_id: nodeId.optional(),
  uri: sourceUri(['nbd:', 'nbds:', 'nbd+unix:', 'nbds+unix:']),
});
const sourceTarget = z.looseObject({ type: z.literal('source') });

export const restoreBody = z
  .strictObject({
    pool_id: idOf('pool').optional(),
    target: z.discriminatedUnion('type', [fileTarget, nbdTarget, sourceTarget], 'must be one of file, nbd, source').optional(),
    from_pool_id: idOf('pool').optional(),
    delta: z
      .boolean()
      .optional()
      .openapi({ description: 'With a target: it may exist, and what is equal in it already is not written.' }),
    bandwidth,
    priority,
  })
  .refine((body) => (body.pool_id === undefined) !== (body.target === undefined), {
    path: ['target'],
    message: 'give either pool_id or target, and not both',
  })
  .refine((body) => body.delta === undefined || body.pool_id === undefined, {
    path: ['delta'],
    message: 'goes with a target: a pool never stores again what it has',
  })
  .openapi('Restore');
export type RestoreBlock = z.output<typeof restoreBody>;
