/**
 * What a remote pool is behind: a node of this center, known by its pool endpoint, which takes this center's tokens and whose certificate is
 * known; or a node of another center, which issued an access key.
 */
import { isId } from '@openservice/domain';
import { type EntityManager, type Node, NodeSchema, PoolSchema } from '@openservice/store';
import type { CreatePool } from '../routes/schemas/pools.ts';
import { plainHost, poolEndpointOf } from './pool-endpoint.ts';
import { invalidRequest, Refusal } from './refusal.ts';

type Body = Extract<CreatePool, { type: 'remote' }>;

export interface RemoteEnd {
  /** Null: not of this center. */
  node_id: string | null;
  host: string;
  port: number;
  https: boolean;
  tls_fingerprint: string | null;
  remote_pool: string;
  access_key: string | null;
  secret_key: string | null;
}

/** Refusal `invalid_request` that names the field, `pool_exists` for a pool of this very center. */
export async function remoteEnd(manager: EntityManager, body: Body): Promise<RemoteEnd> {
  await refuseOwnPool(manager, body.remote_pool);
  const host = plainHost(body.host);
  const node = await nodeAt(manager, host, body.port);
  const at = { host, port: body.port, remote_pool: body.remote_pool };
  return node === null ? { ...at, ...ofOtherCenter(body, host) } : { ...at, ...ofOwnNode(body, node) };
}

async function refuseOwnPool(manager: EntityManager, remotePool: string): Promise<void> {
  if (!isId('pool', remotePool)) return;
  const own = await manager.findOneBy(PoolSchema, { id: remotePool });
  if (own === null) return;
  throw new Refusal(
    'pool_exists',
    `Pool ${own.id} ("${own.name}") is one of this center, and every node reaches it already; use it itself.`,
    { pool_id: own.id, errors: [{ path: 'remote_pool', message: 'is a pool of this center' }] },
  );
}

async function nodeAt(manager: EntityManager, host: string, port: number): Promise<Node | null> {
  const nodes = (await manager.find(NodeSchema, { order: { id: 'ASC' } })).filter((node) => {
    const at = poolEndpointOf(node);
    return at !== null && at.host === host && at.port === port;
  });
  if (nodes.length > 1) {
    const ids = nodes.map((node) => node.id).join(', ');
    const message = `is the pool endpoint of several nodes (${ids}); let each tell an address by which others reach it`;
    throw invalidRequest([{ path: 'host', message }]);
  }
  return nodes[0] ?? null;
}

function ofOwnNode(body: Body, node: Node) {
  const named = `${body.host}:${body.port} is node ${node.id} of this center`;
  const refuse = (path: string, message: string) => invalidRequest([{ path, message: `${named}: ${message}` }]);
  const https = poolEndpointOf(node)?.https ?? true;
  if (body.access_key !== undefined) throw refuse('access_key', 'no key is needed; leave out access_key and secret_key');
  if (body.https !== undefined && body.https !== https) throw refuse('https', `it is ${https}; leave it out`);
  if (body.tls_fingerprint != null && body.tls_fingerprint !== node.pool_fingerprint)
    throw refuse('tls_fingerprint', 'its certificate is known here and is another one; leave it out');
  if (isId('pool', body.remote_pool)) throw refuse('remote_pool', 'give the name of a pool that it exports, such as "default"');
  return { node_id: node.id, https, tls_fingerprint: node.pool_fingerprint, access_key: null, secret_key: null };
}

function ofOtherCenter(body: Body, host: string) {
  const { access_key, secret_key } = body;
  if (access_key === undefined || secret_key === undefined) {
    const why = `is required: no node of this center has its pool endpoint at ${host}:${body.port} (see pool_endpoint of GET /openstore_v1/nodes); for a node of another center, give a key from its PUT /openstore_v1/access_keys`;
    const missing = (['access_key', 'secret_key'] as const).filter((field) => body[field] === undefined);
    throw invalidRequest(missing.map((path) => ({ path, message: why })));
  }
  return { node_id: null, https: body.https ?? true, tls_fingerprint: body.tls_fingerprint ?? null, access_key, secret_key };
}
