/** Pools of all four types on two nodes, and what the matrix of pairs does with them. */
import { randomBytes } from 'node:crypto';
import { localPool, s3Pool } from './steps.ts';
import type { System } from './system.ts';

export const TYPES = ['local', 'dedup', 's3', 'remote'] as const;
export type Type = (typeof TYPES)[number];

/** For each type a pool to come from and another to go to. */
export interface Ends {
  from: Record<Type, string>;
  to: Record<Type, string>;
}

let count = 0;
const unique = (word: string): string => `${word}-${++count}-${randomBytes(4).toString('hex')}`;

export async function dedupPool(system: System, node = 1, extra: Record<string, unknown> = {}): Promise<string> {
  const body = { type: 'dedup', name: unique('dedup'), node_id: `node-${node}`, path: system.poolPath(node, 'dedup'), ...extra };
  return (await system.api.ok('PUT', '/pools', body)).body['pool-id'];
}

/** The pool `default` that a node exports, through its pool server. */
export async function remotePool(system: System, node: number): Promise<string> {
  const { body } = await system.api.ok('GET', `/nodes/node-${node}`);
  const { hostname: host, port } = new URL(body.node.pool_endpoint as string);
  const pool = { type: 'remote', name: unique('remote'), host, port: Number(port) };
  return (await system.api.ok('PUT', '/pools', pool)).body['pool-id'];
}

/** Sources on node-1, targets on node-2, but for local: that pair is on one node. A remote pool is always on the other node. */
export async function makeEnds(system: System): Promise<Ends> {
  return {
    from: {
      local: (await localPool(system, 1)).id,
      dedup: await dedupPool(system, 1),
      s3: await s3Pool(system),
      remote: await remotePool(system, 2),
    },
    to: {
      local: (await localPool(system, 1)).id,
      dedup: await dedupPool(system, 2),
      s3: await s3Pool(system),
      remote: await remotePool(system, 1),
    },
  };
}
