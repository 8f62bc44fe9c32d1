/**
 * A pool is accepted once a node has proved it: reserve (name, place and id, durable) → probe → confirm. A probe that
 * refuses takes the reservation back; a crash leaves it, and the same call again goes on with its id.
 */
import { newId, type PoolSpec, type S3PoolSpec } from '@openservice/domain';
import { type DataSource, type EntityManager, inTransaction, isDuplicate, type Pool, PoolSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { audit } from '../jobs/submit-job.ts';
import type { CreatePool } from '../routes/schemas/pools.ts';
import { type Answer, decide } from './answers.ts';
import type { Caller } from './caller.ts';
import { findNode } from './lookups.ts';
import { anyOnlineNode, workingNode } from './placement.ts';
import { isReservation, placeOf, RESERVATION_MS, RESERVED } from './pool-reservation.ts';
import { Refusal } from './refusal.ts';

const PROBE_LIMIT_MS = 30_000;
/** Where a region says nothing to the server, S3 signatures still need one. */
const DEFAULT_REGION = 'us-east-1';

type Supported = Extract<CreatePool, { type: 'local' | 's3' }>;

export async function createPool(deps: AppDeps, body: CreatePool, caller: Caller): Promise<Answer> {
  if (body.type === 'remote' || body.type === 'dedup') {
    throw new Refusal('pool_type_not_supported', `Pools of type ${body.type} arrive with a later version; supported: local, s3.`);
  }
  const node =
    body.node_id === undefined ? await anyOnlineNode(deps.database.manager) : await findNode(deps.database.manager, body.node_id);
  await workingNode(deps.database.manager, node.id);
  const pool = await reserve(deps.database, rowOf(deps, body));
  try {
    const probe = await deps.nodes.call(
      node.id,
      'pool_probe',
      { spec: specOf(pool, body), create: true },
      { timeoutMs: PROBE_LIMIT_MS },
    );
    return await decide(deps.database, async (manager) => {
      await refuseSamePlace(manager, pool);
      const confirmed = await manager.update(
        PoolSchema,
        { id: pool.id, ...RESERVED },
        { state: 'available', fencing: probe.fencing, capacity_bytes: probe.capacity_bytes },
      );
      if (confirmed.affected !== 1) throw nameTaken(pool.name);
      await audit(manager, caller.tokenId, 'pool.create', pool.id, { name: pool.name, type: pool.type, place: placeOf(pool) });
      return { status: 201, body: { 'pool-id': pool.id } };
    });
  } catch (error) {
    await giveUp(deps, pool);
    throw error;
  }
}

function rowOf(deps: AppDeps, body: Supported): Pool {
  const common = {
    id: newId('pool'),
    name: body.name,
    type: body.type,
    ...RESERVED,
    host: null,
    port: null,
    fencing: 'advisory' as const,
    stored_bytes: 0,
    logical_bytes: 0,
    block_count: 0,
    created_at: new Date(),
  };
  if (body.type === 'local') {
    const nothing = { s3_scheme: null, endpoint: null, bucket: null, region: null, https: null, prefix: null };
    return {
      ...common,
      ...nothing,
      node_id: body.node_id,
      path: plainPath(body.path),
      access_key: null,
      secret_key_sealed: null,
    };
  }
  const endpoint = endpointOf(body);
  return {
    ...common,
    node_id: null,
    path: null,
    host: body.host ?? null,
    port: body.port ?? null,
    s3_scheme: body.s3_scheme,
    endpoint,
    bucket: body.bucket,
    region: body.region ?? DEFAULT_REGION,
    https: endpoint === null ? (body.https ?? true) : endpoint.startsWith('https:'),
    prefix: body.prefix,
    access_key: body.access_key,
    secret_key_sealed: deps.secrets.seal(body.secret_key),
  };
}

/** `/a//b/` and `/a/./b` are one place. */
function plainPath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..'))
    throw new Refusal('invalid_request', 'The path of a pool must not hold "..".', {
      errors: [{ path: 'path', message: 'must not hold ".."' }],
    });
  if (parts.length === 0)
    throw new Refusal('invalid_request', 'The root directory cannot be a pool.', {
      errors: [{ path: 'path', message: 'must not be "/"' }],
    });
  return `/${parts.join('/')}`;
}

/** `http(s)://host[:port]`, or null: the provider's own. */
function endpointOf(body: Extract<CreatePool, { type: 's3' }>): string | null {
  if (body.endpoint !== undefined) return new URL(body.endpoint).origin;
  if (body.host === undefined) return null;
  const host = body.host.includes(':') ? `[${body.host}]` : body.host;
  return new URL(`${(body.https ?? true) ? 'https' : 'http'}://${host}${body.port === undefined ? '' : `:${body.port}`}`).origin;
}

function specOf(pool: Pool, body: Supported): PoolSpec {
  if (body.type === 'local') return { id: pool.id, type: 'local', node_id: body.node_id, path: pool.path ?? body.path };
  const { s3_scheme, bucket, prefix, access_key, secret_key } = body;
  const where: Pick<S3PoolSpec, 'endpoint' | 'region' | 'https'> = {
    endpoint: pool.endpoint,
    region: pool.region ?? DEFAULT_REGION,
    https: pool.https ?? true,
  };
  return { id: pool.id, type: 's3', s3_scheme, bucket, prefix, access_key, secret_key, ...where };
}

const nameTaken = (name: string): Refusal =>
  new Refusal('name_taken', `There is a pool named "${name}" already; choose another name.`);

/** The row under its final id. A reservation of the same name that was left behind is taken over or replaced. */
async function reserve(database: DataSource, wanted: Pool): Promise<Pool> {
  const place = placeOf(wanted);
  try {
    return await inTransaction(database, async (manager) => {
      const same = await manager.findOne(PoolSchema, { where: { name: wanted.name }, lock: { mode: 'pessimistic_write' } });
      if (same !== null && !isReservation(same)) throw nameTaken(wanted.name);
      await refuseSamePlace(manager, wanted);
      if (same !== null && placeOf(same) !== place && same.created_at.getTime() > Date.now() - RESERVATION_MS)
        throw nameTaken(wanted.name);
      const known = same !== null && placeOf(same) === place ? same.id : await formerId(manager, place);
      const pool = { ...wanted, id: known ?? wanted.id };
      if (same !== null) await manager.delete(PoolSchema, { id: same.id });
      await manager.insert(PoolSchema, pool);
      return pool;
    });
  } catch (error) {
    if (isDuplicate(error)) throw nameTaken(wanted.name);
    throw error;
  }
}

/** Of two that come at once, the one with the smaller id wins. */
async function refuseSamePlace(manager: EntityManager, wanted: Pool): Promise<void> {
  const place = placeOf(wanted);
  const where =
    wanted.type === 'local' ? { type: wanted.type, path: wanted.path! } : { type: wanted.type, bucket: wanted.bucket! };
  const others = (await manager.findBy(PoolSchema, where)).filter(
    (pool) => pool.id !== wanted.id && pool.name !== wanted.name && placeOf(pool) === place,
  );
  const first = others.find(
    (pool) => !isReservation(pool) || (pool.id < wanted.id && pool.created_at.getTime() > Date.now() - RESERVATION_MS),
  );
  if (first !== undefined) {
    throw new Refusal(
      'pool_exists',
      `Pool ${first.id} ("${first.name}") is in this place already; use it, or choose another place.`,
      { pool_id: first.id },
    );
  }
}

/** A pool of ours that was deleted left its id in the place: the new one there goes on with it. */
async function formerId(manager: EntityManager, place: string): Promise<string | null> {
  const [row] = await manager.query<{ resource: string }[]>(
    `SELECT resource FROM audit WHERE action = 'pool.delete' AND JSON_UNQUOTE(JSON_EXTRACT(detail, '$.place')) = ? ORDER BY id DESC LIMIT 1`,
    [place],
  );
  if (row === undefined) return null;
  return (await manager.existsBy(PoolSchema, { id: row.resource })) ? null : row.resource;
}

async function giveUp(deps: AppDeps, pool: Pool): Promise<void> {
  try {
    await deps.database.getRepository(PoolSchema).delete({ id: pool.id, ...RESERVED });
  } catch (error) {
    deps.log.warn(
      { pool_id: pool.id, error: String(error) },
      'a reservation of a pool stays; the same call again goes on with it',
    );
  }
}
