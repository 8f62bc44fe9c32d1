/** The limits that a center has set for this node as a whole, and for pools, shared by all jobs here. They change while jobs run. */
import { type ByteLimit, TokenBucket } from '@openservice/transfer';

export interface GivenLimits {
  /** Bytes a second; null: no limit. */
  bandwidth: number | null;
  /** Pools that are not named have none. */
  pools: readonly { pool_id: string; bandwidth: number }[];
}

export class ByteLimits {
  readonly #node = new TokenBucket(null);
  /** Of each pool that was limited or used so far: whoever moves bytes now must hear of a limit that is set later. */
  readonly #pools = new Map<string, TokenBucket>();

  set({ bandwidth, pools }: GivenLimits): void {
    this.#node.setRate(bandwidth);
    const given = new Map(pools.map((one) => [one.pool_id, one.bandwidth]));
    for (const id of given.keys()) this.#bucketOf(id);
    for (const [id, bucket] of this.#pools) bucket.setRate(given.get(id) ?? null);
  }

  /** What bounds a transfer that touches these pools; one that is both source and target counts once. */
  of(poolIds: readonly string[]): ByteLimit[] {
    return [this.#node, ...[...new Set(poolIds)].map((id) => this.#bucketOf(id))];
  }

  #bucketOf(poolId: string): TokenBucket {
    const there = this.#pools.get(poolId);
    if (there !== undefined) return there;
    const made = new TokenBucket(null);
    this.#pools.set(poolId, made);
    return made;
  }
}
