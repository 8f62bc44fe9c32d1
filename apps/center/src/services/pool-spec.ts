/** A pool's row as what a node needs to open it, secrets and all. */
import { PermanentError, type PoolSpec, type RemotePoolSpec, TransientError } from '@openservice/domain';
import type { Node, Pool } from '@openservice/store';
import type { Secrets } from '../secrets.ts';
import { poolEndpointOf } from './pool-endpoint.ts';

type Opener = Pick<Secrets, 'open'>;

/** As the place itself is opened: a directory by its own node. PermanentError `secret_unreadable`, `pool_unusable`. */
export function specOf(row: Pool, secrets: Opener): PoolSpec {
  const { id, node_id, path } = row;
  const encryption_key = row.pool_key_sealed === null ? null : secrets.open(row.pool_key_sealed);
  if (row.type === 'local' && node_id !== null && path !== null) return { id, type: 'local', node_id, path };
  if (row.type === 'dedup' && node_id !== null && path !== null) return { id, type: 'dedup', node_id, path, encryption_key };
  if (row.type === 's3' && row.s3_scheme !== null && row.bucket !== null && row.secret_key_sealed !== null) {
    return {
      id,
      type: 's3',
      s3_scheme: row.s3_scheme,
      endpoint: row.endpoint,
      region: row.region ?? '',
      bucket: row.bucket,
      prefix: row.prefix ?? '',
      access_key: row.access_key ?? '',
      secret_key: secrets.open(row.secret_key_sealed),
      https: row.https ?? true,
      encryption_key,
    };
  }
  if (row.type === 'remote' && row.host !== null && row.port !== null && row.remote_pool !== null) {
    return {
      id,
      type: 'remote',
      host: row.host,
      port: row.port,
      https: row.https ?? true,
      tls_fingerprint: row.tls_fingerprint,
      remote_pool: row.remote_pool,
      auth: authOf(row, secrets),
    };
  }
  throw new PermanentError('pool_unusable', `Pool ${id} of type ${row.type} cannot be opened by a node.`);
}

function authOf(row: Pool, secrets: Opener): RemotePoolSpec['auth'] {
  if (row.access_key === null || row.secret_key_sealed === null) return { type: 'center' };
  return { type: 'access_key', access_key: row.access_key, secret_key: secrets.open(row.secret_key_sealed) };
}

/** True for a remote pool that is behind a node of this center, which takes this center's tokens. */
export function isOfOwnNode(row: Pool): boolean {
  return row.type === 'remote' && row.node_id !== null && row.access_key === null;
}

/**
 * `remotePool` of `node`, through its pool server as it is now: a node that moved or got a new certificate is followed. TransientError
 * `node_unavailable` while it has told no endpoint.
 */
export function specThrough(node: Node | null, id: string, remotePool: string): RemotePoolSpec {
  const at = node === null ? null : poolEndpointOf(node);
  if (node === null || at === null) {
    throw new TransientError(
      'node_unavailable',
      `Pool ${id} is reached through the pool server of node ${node?.id ?? 'that is gone'}, which has told no endpoint yet; see that the node runs.`,
    );
  }
  return { id, type: 'remote', ...at, tls_fingerprint: node.pool_fingerprint, remote_pool: remotePool, auth: { type: 'center' } };
}
