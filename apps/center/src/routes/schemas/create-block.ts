import { z } from '@hono/zod-openapi';
import { IMAGE_FORMATS } from '@openservice/protocol';
import { absolutePath, bandwidth, diskSize, idOf, name, nodeId, priority, sourceUri } from './fields.ts';

/** Left out, the node looks at the image's first bytes. */
const format = z.enum(IMAGE_FORMATS).optional();

const fileSource = z.strictObject({ type: z.literal('file'), node_id: nodeId.optional(), path: absolutePath, format });
const httpSource = z.strictObject({
  type: z.literal('http'),
  node_id: nodeId.optional(),
  url: sourceUri(['http:', 'https:']),
  format,
});
const nbdSource = z.strictObject({
  type: z.literal('nbd'),
  node_id: nodeId.optional(),
  uri: sourceUri(['nbd:', 'nbds:', 'nbd+unix:', 'nbds+unix:']),
});

/** Bytes. */
const extent = z.strictObject({
  offset: z.int('must be an integer').min(0, 'must be 0 at least'),
  length: z.int('must be an integer').min(1, 'must be 1 at least'),
});
export type Extent = z.output<typeof extent>;

export const createBlockBody = z
  .strictObject({
    name: name(255),
    pool_id: idOf('pool'),
    set_id: idOf('set').optional(),
    size: diskSize
      .optional()
      .openapi({ description: 'Bytes. Without a source: of the content that PUT /blocks/{block_id}/content will bring.' }),
    source: z.discriminatedUnion('type', [fileSource, httpSource, nbdSource], 'must be one of file, http, nbd').optional(),
    parent_block_id: idOf('block')
      .optional()
      .openapi({ description: 'The block that this one goes on from: what is equal is not stored again.' }),
    changed_extents: z.array(extent).max(100_000, 'must be 100000 extents at most').optional().openapi({
      description: 'With a parent: only these are read, everything else is the parent’s, which is checked by sample.',
    }),
    bandwidth,
    priority,
  })
  .refine((body) => body.changed_extents === undefined || body.parent_block_id !== undefined, {
    path: ['changed_extents'],
    message: 'needs parent_block_id: it says what changed since that block',
  })
  .refine((body) => body.changed_extents === undefined || body.source !== undefined, {
    path: ['changed_extents'],
    message: 'needs a source: content that is sent is sent whole',
  })
  .openapi('CreateBlock');
export type CreateBlock = z.output<typeof createBlockBody>;
export type BlockSource = NonNullable<CreateBlock['source']>;
