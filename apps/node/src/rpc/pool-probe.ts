import { OpenServiceError, TransientError } from '@openservice/domain';
import { type NodeReply, type NodeRequest, orAborted } from '@openservice/runtime';
import type { Pools } from '../pools-access.ts';

/** The center waits a little longer. */
const LIMIT_MS = 20_000;

/**
 * Proves that a pool can be used from here; with `create`, marks it. Errors are those of Pool.probe, and TransientError `pool_unreachable`
 * when that takes longer than `limitMs`.
 */
export async function poolProbe(
  pools: Pools,
  request: NodeRequest<'pool_probe'>,
  limitMs = LIMIT_MS,
): Promise<NodeReply<'pool_probe'>> {
  const pool = pools.poolFor(request.spec);
  const limit = AbortSignal.timeout(limitMs);
  try {
    const { capacityBytes, fencing } = await orAborted(pool.probe({ create: request.create }, limit), limit);
    return { capacity_bytes: capacityBytes, fencing };
  } catch (error) {
    // What the pool has found out by itself says more.
    const stopped = !(error instanceof OpenServiceError) || error.outcome === 'cancelled';
    if (!limit.aborted || !stopped) throw error;
    throw new TransientError(
      'pool_unreachable',
      `The ${pool.name} did not answer a probe within ${limitMs / 1000} s; see that this node reaches it, and that it is not overloaded.`,
      { cause: error },
    );
  } finally {
    await pool.close();
  }
}
