import type { NodeReply, NodeRequest } from '@openservice/runtime';
import type { Pools } from '../pools-access.ts';

const LIMIT_MS = 20_000;

/** Proves that a pool can be used from here; with `create`, marks it. Errors are those of Pool.probe. */
export async function poolProbe(pools: Pools, request: NodeRequest<'pool_probe'>): Promise<NodeReply<'pool_probe'>> {
  const pool = pools.poolFor(request.spec);
  try {
    const { capacityBytes, fencing } = await pool.probe({ create: request.create }, AbortSignal.timeout(LIMIT_MS));
    return { capacity_bytes: capacityBytes, fencing };
  } finally {
    await pool.close();
  }
}
