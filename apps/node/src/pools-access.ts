/** How handlers come to a pool. */
import type { Pool } from '@openservice/pools';

export interface PoolAccess {
  /** The opened pool; it stays the access's: do not close it. Waits while no center answers. Rejects soon after `signal` fires. */
  get(poolId: string, signal: AbortSignal): Promise<Pool>;
}
