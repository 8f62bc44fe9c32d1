import type { ApiClient } from '../api-client.ts';
import type { DemoContext } from './context.ts';

export interface Pools {
  localPoolId: string;
  s3PoolId: string;
}

/** `PUT /pools`, twice: a directory of the node, and the stack's bucket (through the meter where it can be metered). */
export async function createPools({ api, stack, nodeId, poolPath }: DemoContext, s3Endpoint: string): Promise<Pools> {
  const localPoolId = await createLocalPool(api, { name: 'demo-local', nodeId, path: poolPath });
  const s3PoolId = await createS3Pool(api, { name: 'demo-s3', prefix: 'demo', ...stack.stack.s3, endpoint: s3Endpoint });
  return { localPoolId, s3PoolId };
}

export async function createLocalPool(api: ApiClient, pool: { name: string; nodeId: string; path: string }): Promise<string> {
  return api.createPool({ name: pool.name, type: 'local', node_id: pool.nodeId, path: pool.path });
}

export async function createS3Pool(
  api: ApiClient,
  pool: {
    name: string;
    prefix: string;
    endpoint: string;
    region: string;
    access_key: string;
    secret_key: string;
    bucket: string;
  },
): Promise<string> {
  const { name, prefix, endpoint, region, access_key, secret_key, bucket } = pool;
  const https = endpoint.startsWith('https:');
  return api.createPool({
    name,
    type: 's3',
    s3_scheme: 'other',
    endpoint,
    bucket,
    region,
    access_key,
    secret_key,
    https,
    prefix,
  });
}
