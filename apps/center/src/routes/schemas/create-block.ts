import { z } from '@hono/zod-openapi';
import { absolutePath, diskSize, idOf, name, nodeId } from './fields.ts';

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
