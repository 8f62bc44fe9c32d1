/** A node's "no" to the probe of a new pool, with the field that it is about and what to do. */
import { OpenServiceError } from '@openservice/domain';
import { type EntityManager, type Pool, PoolSchema } from '@openservice/store';
import type { CreatePool } from '../routes/schemas/pools.ts';
import { type FieldError, Refusal } from './refusal.ts';

/** The error to answer with. One that says nothing of the pool (the node is away) stays as it is. */
export async function explained(manager: EntityManager, error: unknown, body: CreatePool, pool: Pool): Promise<unknown> {
  if (!(error instanceof OpenServiceError) || error instanceof Refusal || isAway(error)) return error;
  const refuse = (code: string, path: string, message: string, more: Record<string, unknown> = {}): Refusal => {
    const errors: FieldError[] = [{ path, message }];
    return new Refusal(code, `${error.message} ${sentence(message)}`, { errors, ...more }, { cause: error });
  };
  if (error.code === 'wrong_pool_key') return refuse(error.code, ...keyRemedy(body));
  if (error.code === 'pool_path_in_use') return inUse(manager, error, body, refuse);
  if (error.code === 'pool_not_initialised' && 'id' in body && body.id !== undefined)
    return refuse(error.code, 'id', 'no pool of this id lies there; see the place, or leave id out for a new pool');
  if (body.type === 'remote') return ofRemote(error, pool, refuse);
  if (isUnreached(error))
    return refuse('pool_unreachable', placeField(body), 'see that it is right and can be reached from the node');
  return error;
}

type Refuse = (code: string, path: string, message: string, more?: Record<string, unknown>) => Refusal;

/** The node itself did not answer, or had no center to ask: try again. */
const isAway = ({ code }: OpenServiceError): boolean => code === 'node_unavailable' || code === 'center_unavailable';

/** Also a probe that the node gave up in the end. */
const isUnreached = ({ code, outcome }: OpenServiceError): boolean => outcome === 'transient' || code === 'cancelled';

const sentence = (text: string): string => `${text[0]?.toUpperCase()}${text.slice(1)}.`;

function keyRemedy(body: CreatePool): [path: string, message: string] {
  if ('key' in body && body.key !== undefined)
    return ['key', 'give the key that was exported of this very pool, or leave key out where it is not encrypted'];
  if (body.type !== 'local' && body.type !== 'remote' && body.encryption === true)
    return [
      'encryption',
      'for a pool that lies there already, give its key, or leave encryption out where it has none; for a new one, an empty place',
    ];
  return ['key', 'give key {"exported","passphrase"}, exported while its center was there (action=export_key)'];
}

/** A pool of a center that is gone can be taken over under its id. */
async function inUse(
  manager: EntityManager,
  error: OpenServiceError,
  body: CreatePool,
  refuse: Refuse,
): Promise<OpenServiceError> {
  const id = /belongs to pool (pool-[0-9a-z]{26})/.exec(error.message)?.[1];
  if (id === undefined || body.type === 'remote') return error;
  const own = await manager.findOneBy(PoolSchema, { id });
  const more = { pool_id: id };
  if (own !== null) return refuse(error.code, placeField(body), `pool ${id} is "${own.name}" of this center; use it`, more);
  const takeOver = `to take over that pool, of a center that is lost, repeat with "id": "${id}" and then POST /openstore_v1/pools/${id}?action=rebuild`;
  return refuse(error.code, 'id', takeOver, more);
}

const placeField = (body: CreatePool): string => {
  if (body.type === 'local' || body.type === 'dedup') return 'path';
  return body.type === 's3' && body.endpoint !== undefined ? 'endpoint' : 'host';
};

/** The codes of `libs/pools/src/remote`; `unauthorized` and `pool_not_found` would say something of this center here. */
function ofRemote(error: OpenServiceError, pool: Pool, refuse: Refuse): OpenServiceError {
  const at = `${pool.host}:${pool.port}`;
  const ownNode = pool.node_id !== null;
  switch (error.code) {
    case 'tls_untrusted':
    case 'tls_fingerprint_mismatch':
      return refuse(
        'remote_certificate_refused',
        'tls_fingerprint',
        'give the SHA-256 of its certificate: pool_fingerprint of the node at its own center',
      );
    case 'unauthorized':
    case 'forbidden':
      return ownNode
        ? refuse('remote_access_denied', 'host', `see that node ${pool.node_id} and this center have the same time`)
        : refuse(
            'remote_access_denied',
            'access_key',
            'give a key from PUT /openstore_v1/access_keys of its center, for this very pool',
          );
    case 'pool_not_found':
      return refuse(
        'remote_pool_not_found',
        'remote_pool',
        'give a name that the node exports, or the id of a pool of its center',
      );
    case 'https_required':
      return refuse(error.code, 'https', 'leave it out');
    case 'not_a_pool_server':
      return refuse(error.code, 'host', 'give host and port of a node: its pool_endpoint');
    default:
      return isUnreached(error) || error.code === 'internal'
        ? refuse(
            'pool_unreachable',
            'host',
            `see that a pool server listens at ${at} and can be reached from the node that tried`,
          )
        : error;
  }
}
