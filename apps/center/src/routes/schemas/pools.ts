import { z } from '@hono/zod-openapi';
import { POOL_TYPES, S3_SCHEMES } from '@openservice/domain';
import { absolutePath, bytes, flag, idOf, name, nodeId, port, time } from './fields.ts';
import { listQuery, nameFilter, nextMarker } from './lists.ts';

const host = z
  .string()
  .max(253, 'must be 253 characters at most')
  .regex(/^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$/, 'must be a host name or an IP address');

const endpointUrl = z
  .string()
  .max(512, 'must be 512 characters at most')
  .refine(isEndpoint, 'must be http(s)://host[:port], without path, query or credentials');

function isEndpoint(value: string): boolean {
  if (!/^https?:\/\/[^/?#@\s\\]+\/?$/i.test(value) || !URL.canParse(value)) return false;
  const url = new URL(value);
  return url.username === '' && url.password === '' && url.pathname === '/' && url.port !== '0';
}

const bucket = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$/, 'must be 3 to 63 lower case letters, digits, ".", "_" or "-"')
  .refine((value) => !value.includes('..'), 'must not hold ".."');

const prefix = z
  .string()
  .max(512, 'must be 512 characters at most')
  .regex(/^[A-Za-z0-9!_.*'()/-]*$/, "may hold letters, digits and ! - _ . * ' ( ) /")
  .transform((value) => value.replaceAll(/^\/+|\/+$/g, ''))
  .refine(
    (value) => value === '' || value.split('/').every((part) => part !== '' && part !== '.' && part !== '..'),
    'must not hold empty parts, "." or ".."',
  );

const region = z.string().regex(/^[a-z0-9-]{1,64}$/, 'must be 1 to 64 lower case letters, digits or "-"');
const key = (max: number) =>
  z
    .string()
    .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces')
    .max(max, `must be ${max} characters at most`);

const localPool = z.strictObject({ type: z.literal('local'), name: name(128), node_id: nodeId, path: absolutePath });

const s3Pool = z
  .strictObject({
    type: z.literal('s3'),
    name: name(128),
    node_id: nodeId.optional(),
    s3_scheme: z.enum(S3_SCHEMES),
    endpoint: endpointUrl.optional(),
    host: host.optional(),
    port: port.optional(),
    bucket,
    region: region.optional(),
    prefix: prefix.default(''),
    access_key: key(255),
    secret_key: key(512),
    https: z.boolean().optional(),
  })
  .superRefine((pool, context) => {
    const refuse = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    if (pool.s3_scheme === 'other') {
      if (pool.endpoint === undefined && pool.host === undefined)
        refuse('endpoint', 'is required for s3_scheme other (or host and port)');
    } else {
      if (pool.region === undefined) refuse('region', `is required for s3_scheme ${pool.s3_scheme}`);
      if (pool.host !== undefined) refuse('host', 'is only for s3_scheme other');
    }
    if (pool.endpoint !== undefined && pool.host !== undefined) refuse('host', 'give either endpoint or host, not both');
    if (pool.port !== undefined && pool.host === undefined) refuse('port', 'needs host');
    if (pool.endpoint !== undefined && pool.https !== undefined && pool.https !== /^https:/i.test(pool.endpoint)) {
      refuse('https', 'contradicts endpoint');
    }
  });

/** Types of the seed that have no driver yet: taken here so that the refusal can say so by name. */
const remotePool = z.strictObject({
  type: z.literal('remote'),
  name: name(128),
  host,
  port: port.default(9527),
  remote_pool: name(128).default('default'),
});
const dedupPool = z.strictObject({ type: z.literal('dedup'), name: name(128), node_id: nodeId, path: absolutePath });

export const createPoolBody = z
  .discriminatedUnion('type', [localPool, s3Pool, remotePool, dedupPool], `must be one of ${POOL_TYPES.join(', ')}`)
  .openapi('CreatePool');
export type CreatePool = z.output<typeof createPoolBody>;

export const listPoolsQuery = listQuery(idOf('pool'), {
  filter: nameFilter,
  type: z.enum(POOL_TYPES).optional(),
  node_id: nodeId.optional(),
  state: z.enum(['available', 'unavailable', 'deleting']).optional(),
});

export const deletePoolQuery = z.strictObject({ force: flag.default(false) });
export const deletePoolByQuery = z.strictObject({ pool_id: z.string().max(255), force: flag.default(false) });

export const poolView = z
  .object({
    id: z.string(),
    name: z.string(),
    type: z.enum(POOL_TYPES),
    node_id: z.string().nullable(),
    path: z.string().nullable(),
    host: z.string().nullable(),
    port: z.int().nullable(),
    s3_scheme: z.enum(S3_SCHEMES).nullable(),
    endpoint: z.string().nullable(),
    bucket: z.string().nullable(),
    region: z.string().nullable(),
    prefix: z.string().nullable(),
    https: z.boolean().nullable(),
    access_key: z.string().nullable().openapi({ description: 'Masked.' }),
    state: z.enum(['available', 'unavailable', 'deleting']),
    fencing: z.enum(['strict', 'advisory']),
    stored_bytes: bytes,
    logical_bytes: bytes,
    dedup_ratio: z.number().nullable().openapi({ description: 'logical_bytes / stored_bytes' }),
    capacity_bytes: bytes.nullable(),
    block_count: bytes,
    created_at: time,
  })
  .openapi('Pool');
export const poolAnswer = z.object({ pool: poolView });
export const poolsAnswer = z.object({ pools: z.array(poolView), next_marker: nextMarker });
export const poolCreated = z.object({ 'pool-id': z.string() });
export const poolDeleted = z.object({ 'pool-id': z.string(), removed_replicas: bytes, lost_blocks: bytes });
