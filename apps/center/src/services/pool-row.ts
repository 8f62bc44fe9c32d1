/** The row of a pool that was asked for, not yet proved. */
import { newId, type OpenServiceError } from '@openservice/domain';
import type { EntityManager, Pool } from '@openservice/store';
import { importPoolKey, newPoolKey } from '../pool-keys.ts';
import type { CreatePool } from '../routes/schemas/pools.ts';
import type { Secrets } from '../secrets.ts';
import { plainPath } from './pool-place.ts';
import { remoteEnd } from './pool-remote.ts';
import { RESERVED } from './pool-reservation.ts';
import { Refusal } from './refusal.ts';

/** Where a region says nothing to the server, S3 signatures still need one. */
const DEFAULT_REGION = 'us-east-1';

type Body<Type extends CreatePool['type']> = Extract<CreatePool, { type: Type }>;
type Sealer = Pick<Secrets, 'seal'>;

/** Refusal `invalid_request`, `pool_exists`, `bad_pool_key`, `wrong_passphrase`. */
export async function rowOf(manager: EntityManager, secrets: Sealer, body: CreatePool): Promise<Pool> {
  const row = { ...nothing(), id: newId('pool'), name: body.name, type: body.type };
  if (body.type === 'local') return { ...row, node_id: body.node_id, path: plainPath(body.path) };
  if (body.type === 'remote') {
    const { secret_key, ...end } = await remoteEnd(manager, body);
    return { ...row, ...end, secret_key_sealed: secret_key === null ? null : secrets.seal(secret_key) };
  }
  const pool_key_sealed = await sealedKey(secrets, body);
  if (body.type === 'dedup') return { ...row, node_id: body.node_id, path: plainPath(body.path), pool_key_sealed };
  return { ...row, ...s3Place(body), secret_key_sealed: secrets.seal(body.secret_key), pool_key_sealed };
}

const nothing = (): Omit<Pool, 'id' | 'name' | 'type'> => ({
  ...RESERVED,
  node_id: null,
  path: null,
  host: null,
  port: null,
  s3_scheme: null,
  endpoint: null,
  bucket: null,
  region: null,
  https: null,
  prefix: null,
  access_key: null,
  secret_key_sealed: null,
  remote_pool: null,
  tls_fingerprint: null,
  pool_key_sealed: null,
  fencing: 'advisory',
  stored_bytes: 0,
  logical_bytes: 0,
  block_count: 0,
  max_jobs: null,
  bandwidth: null,
  created_at: new Date(),
});

/** True where the key is made for this call, not brought along. */
export function makesKey(body: CreatePool): boolean {
  return (body.type === 'dedup' || body.type === 's3') && body.key === undefined && body.encryption === true;
}

async function sealedKey(secrets: Sealer, body: Body<'dedup' | 's3'>): Promise<string | null> {
  if (makesKey(body)) return secrets.seal(newPoolKey());
  if (body.key === undefined) return null;
  try {
    return secrets.seal(await importPoolKey(body.key.exported, body.key.passphrase));
  } catch (error) {
    const { code, message } = error as OpenServiceError;
    const path = code === 'bad_pool_key' ? 'key.exported' : 'key.passphrase';
    throw new Refusal(code, message, { errors: [{ path, message }] }, { cause: error });
  }
}

function s3Place(body: Body<'s3'>) {
  const endpoint = endpointOf(body);
  return {
    host: body.host ?? null,
    port: body.port ?? null,
    s3_scheme: body.s3_scheme,
    endpoint,
    bucket: body.bucket,
    region: body.region ?? DEFAULT_REGION,
    https: endpoint === null ? (body.https ?? true) : endpoint.startsWith('https:'),
    prefix: body.prefix,
    access_key: body.access_key,
  };
}

/** `http(s)://host[:port]`, or null: the provider's own. */
function endpointOf(body: Body<'s3'>): string | null {
  if (body.endpoint !== undefined) return new URL(body.endpoint).origin;
  if (body.host === undefined) return null;
  const host = body.host.includes(':') ? `[${body.host}]` : body.host;
  return new URL(`${(body.https ?? true) ? 'https' : 'http'}://${host}${body.port === undefined ? '' : `:${body.port}`}`).origin;
}
