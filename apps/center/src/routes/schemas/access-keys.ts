import { z } from '@hono/zod-openapi';
import { isId, isNodeId } from '@openservice/domain';
import { name, time } from './fields.ts';
import { listQuery, nextMarker } from './lists.ts';

const openedPool = z
  .string()
  .max(128, 'must be 128 characters at most')
  .refine(
    (text) => isId('pool', text) || isExport(text),
    'must be the id of a pool (pool-…), or <node>/<name> of one that a node exports',
  );

function isExport(text: string): boolean {
  const [node = '', exported = '', ...more] = text.split('/');
  return more.length === 0 && isNodeId(node) && /^[\x21-\x7e]{1,64}$/.test(exported);
}

export const createAccessKeyBody = z
  .strictObject({ name: name(128), pool: openedPool })
  .openapi('CreateAccessKey', { description: 'The secret key is in the answer, and nowhere after it.' });
export type CreateAccessKey = z.output<typeof createAccessKeyBody>;

export const listAccessKeysQuery = listQuery(z.string().max(64, 'must be an access key'), {}).omit({ sort: true });
export type ListAccessKeys = z.output<typeof listAccessKeysQuery>;

const accessKeyView = z
  .object({ access_key: z.string(), name: z.string(), pool: z.string(), created_at: time })
  .openapi('AccessKey');
export const accessKeyCreated = z.object({ access_key: z.string(), secret_key: z.string() });
export const accessKeysAnswer = z.object({ access_keys: z.array(accessKeyView), next_marker: nextMarker });
export const accessKeyDeleted = z.object({ access_key: z.string() });
