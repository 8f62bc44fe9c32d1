import { z } from '@hono/zod-openapi';
import { DEFAULT_POOL_PORT, POOL_TYPES, S3_SCHEMES } from '@openservice/domain';
import { absolutePath, bytes, flag, idOf, name, nodeId, port, priority, time } from './fields.ts';
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
const credential = (max: number) =>
  z
    .string()
    .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces')
    .max(max, `must be ${max} characters at most`);

/** Where a pool of a center that is gone lies, and is to be taken over: the id that the place bears. */
const adopted = idOf('pool').optional().openapi({ description: 'Takes over the pool of this id, which lies there already.' });

const passphrase = z
  .string()
  .max(1024, 'must be 1024 characters at most')
  .refine((text) => text.isWellFormed(), 'must be valid Unicode');
const poolKey = z.strictObject({
  exported: z
    .string()
    .max(256, 'must be a text that action=export_key answered, the whole of it')
    .refine((text) => text.trim().startsWith('ospk1.'), 'must be a text that action=export_key answered (ospk1.…)'),
  passphrase: passphrase.min(1, 'must not be empty'),
});

const encryption = {
  encryption: z.boolean().optional().openapi({ description: 'Default: false, or true where key is given.' }),
  key: poolKey.optional().openapi({ description: 'The key of the encrypted pool that lies there already.' }),
};
const keyAgrees = (pool: { encryption?: boolean | undefined; key?: unknown }): boolean =>
  pool.key === undefined || pool.encryption !== false;
const keyDisagrees = { path: ['encryption'], message: 'false contradicts key; leave one of them out' };

/** Taken so that the refusal can say why. */
const notEncrypted = (why: string) => z.literal(false, why).optional();

const localPool = z.strictObject({
  type: z.literal('local'),
  id: adopted,
  name: name(128),
  node_id: nodeId,
  path: absolutePath,
  encryption: notEncrypted('a local pool keeps images that any tool reads; for encryption create a dedup or s3 pool'),
});

const dedupPool = z
  .strictObject({ type: z.literal('dedup'), id: adopted, name: name(128), node_id: nodeId, path: absolutePath, ...encryption })
  .refine(keyAgrees, keyDisagrees);

const s3Pool = z
  .strictObject({
    type: z.literal('s3'),
    id: adopted,
    name: name(128),
    node_id: nodeId.optional(),
    s3_scheme: z.enum(S3_SCHEMES),
    endpoint: endpointUrl.optional(),
    host: host.optional(),
    port: port.optional(),
    bucket,
    region: region.optional(),
    prefix: prefix.default(''),
    access_key: credential(255),
    secret_key: credential(512),
    https: z.boolean().optional(),
    ...encryption,
  })
  .refine(keyAgrees, keyDisagrees)
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

/** SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` and others write it. */
const fingerprint = z
  .string()
  .transform((text) => text.replaceAll(':', '').toLowerCase())
  .refine((text) => /^[0-9a-f]{64}$/.test(text), 'must be the SHA-256 of a certificate: 64 hex digits, colons allowed');

/** The name of an exported pool, or the id of a pool of the other center. */
const remotePoolName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be 1 to 64 letters, digits, ".", "_" or "-"');

const remotePool = z
  .strictObject({
    type: z.literal('remote'),
    name: name(128),
    node_id: nodeId.optional().openapi({ description: 'The node that tries it; default: any that is online.' }),
    host,
    port: port.default(DEFAULT_POOL_PORT),
    remote_pool: remotePoolName.default('default'),
    https: z
      .boolean()
      .optional()
      .openapi({ description: 'Default: true, or as the node of this center at host and port has it.' }),
    tls_fingerprint: fingerprint
      .nullable()
      .optional()
      .openapi({
        description:
          'The one certificate that is accepted (pool_fingerprint of the node at its own center). Left out or null: for a node of this center the one ' +
          "it told of, else whatever the system's certificate authorities vouch for.",
      }),
    access_key: credential(40).optional().openapi({ description: 'From PUT /access_keys of the other center.' }),
    secret_key: credential(512).optional(),
    encryption: notEncrypted('is decided where the pool itself is created; leave it out'),
  })
  .superRefine((pool, context) => {
    const refuse = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    if (pool.access_key !== undefined && pool.secret_key === undefined) refuse('secret_key', 'is required with access_key');
    if (pool.secret_key !== undefined && pool.access_key === undefined) refuse('access_key', 'is required with secret_key');
    if (pool.https === false && pool.tls_fingerprint != null) refuse('tls_fingerprint', 'is only for https');
  });

export const createPoolBody = z
  .discriminatedUnion('type', [localPool, s3Pool, remotePool, dedupPool], `must be one of ${POOL_TYPES.join(', ')}`)
  .openapi('CreatePool');
export type CreatePool = z.output<typeof createPoolBody>;

export const verifyPoolBody = z
  .strictObject({
    sample: z
      .number('must be a number')
      .gt(0, 'must be more than 0')
      .max(1, 'must be 1 at most')
      .default(0.05)
      .openapi({ description: 'Part of the chunks that are read, chosen anew each time; 1 is all.' }),
    priority,
  })
  .openapi('VerifyPool');
export const poolWorkBody = z.strictObject({ priority }).openapi('PoolWork');
export const exportKeyBody = z
  .strictObject({ passphrase: passphrase.min(8, 'must be 8 characters at least') })
  .openapi('ExportPoolKey');

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
    remote_pool: z.string().nullable(),
    tls_fingerprint: z.string().nullable(),
    encrypted: z.boolean(),
    state: z.enum(['available', 'unavailable', 'deleting']),
    fencing: z.enum(['strict', 'advisory']),
    stored_bytes: bytes,
    logical_bytes: bytes,
    dedup_ratio: z.number().nullable().openapi({ description: 'logical_bytes / stored_bytes' }),
    capacity_bytes: bytes.nullable(),
    block_count: bytes,
    max_jobs: z.int().nullable().openapi({ description: 'Jobs on it at a time; null: no limit.' }),
    bandwidth: z
      .number()
      .nullable()
      .openapi({ description: 'Bytes a second that the jobs on it may move, on each node; null: no limit.' }),
    created_at: time,
  })
  .openapi('Pool');
export const poolAnswer = z.object({ pool: poolView });
export const poolsAnswer = z.object({ pools: z.array(poolView), next_marker: nextMarker });
export const poolCreated = z.object({ 'pool-id': z.string() });
export const poolDeleted = z.object({ 'pool-id': z.string(), removed_replicas: bytes, lost_blocks: bytes });
export const poolJob = z.object({ 'pool-id': z.string(), 'job-id': z.string() });
export const poolKeyExported = z.object({ 'pool-id': z.string(), exported: z.string() });
