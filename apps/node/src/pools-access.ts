/** How handlers come to a pool: its spec, with its secrets, is asked of a center and kept in memory alone. */
import { PermanentError, type PoolSpec } from '@openservice/domain';
import { openPool, type Pool, type PoolEnvironment } from '@openservice/pools';

export interface PoolAccess {
  /** The opened pool; it stays the access's: do not close it. Waits while no center answers. Rejects soon after `signal` fires. */
  get(poolId: string, signal: AbortSignal): Promise<Pool>;
}

/** After this long a spec is asked for again: its keys may have been changed. */
const SPEC_MS = 60_000;

interface Opened {
  pool: Pool;
  type: PoolSpec['type'];
  /** The spec as text, to see a change. */
  spec: string;
  /** On performance.now()'s clock. */
  askedAt: number;
}

export interface PoolsOptions {
  nodeId: string;
  environment: PoolEnvironment;
  /** The center's spec of a pool; waits while none answers. */
  poolSpec: (poolId: string, signal: AbortSignal) => Promise<PoolSpec>;
}

export class Pools implements PoolAccess {
  readonly #options: PoolsOptions;
  readonly #opened = new Map<string, Opened>();
  /** Of an older spec: an attempt may still use it, so it is closed at the end. */
  readonly #replaced: Pool[] = [];

  constructor(options: PoolsOptions) {
    this.#options = options;
  }

  async get(poolId: string, signal: AbortSignal): Promise<Pool> {
    return (await this.#get(poolId, signal)).pool;
  }

  /** As `get`, for the pool server: a pool that is a directory of this node. PermanentError `pool_on_other_node` for any other. */
  async own(poolId: string, signal: AbortSignal): Promise<Pool> {
    const { pool, type } = await this.#get(poolId, signal);
    if (type === 'local' || type === 'dedup') return pool;
    throw new PermanentError('pool_on_other_node', `Pool ${poolId} is not a directory of node ${this.#options.nodeId}.`);
  }

  /**
   * Opens a pool for one use; the caller closes it. PermanentError `pool_on_other_node` for another node's directory: its node's pool server is
   * the way to it.
   */
  poolFor(spec: PoolSpec): Pool {
    const { nodeId, environment } = this.#options;
    if ((spec.type === 'local' || spec.type === 'dedup') && spec.node_id !== nodeId) {
      throw new PermanentError(
        'pool_on_other_node',
        `Pool ${spec.id} is a directory of node ${spec.node_id}; node ${nodeId} cannot reach it.`,
      );
    }
    return openPool(spec, environment);
  }

  async close(): Promise<void> {
    const pools = [...this.#replaced, ...[...this.#opened.values()].map(({ pool }) => pool)];
    this.#opened.clear();
    this.#replaced.length = 0;
    await Promise.allSettled(pools.map((pool) => pool.close()));
  }

  async #get(poolId: string, signal: AbortSignal): Promise<Opened> {
    const there = this.#opened.get(poolId);
    if (there !== undefined && performance.now() - there.askedAt < SPEC_MS) return there;
    const spec = await this.#options.poolSpec(poolId, signal);
    const text = JSON.stringify(spec);
    // Looked at again: another job may have opened it meanwhile.
    const now = this.#opened.get(poolId);
    if (now !== undefined && now.spec === text) {
      now.askedAt = performance.now();
      return now;
    }
    const made = { pool: this.poolFor(spec), type: spec.type, spec: text, askedAt: performance.now() };
    if (now !== undefined) this.#replaced.push(now.pool);
    this.#opened.set(poolId, made);
    return made;
  }
}
