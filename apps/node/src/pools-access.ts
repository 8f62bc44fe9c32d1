/** How handlers come to a pool: its spec, with its secrets, is asked of a center and kept in memory alone. */
import { type OpenServiceError, PermanentError, type PoolSpec } from '@openservice/domain';
import { openPool, type Pool, type PoolEnvironment } from '@openservice/pools';
import { Backoff, callCenter, type Logger, orAborted } from '@openservice/runtime';
import type { NatsConnection } from 'nats';

export interface PoolAccess {
  /** The opened pool; it stays the access's: do not close it. Waits while no center answers. Rejects soon after `signal` fires. */
  get(poolId: string, signal: AbortSignal): Promise<Pool>;
}

/** After this long a spec is asked for again: its keys may have been changed. */
const SPEC_MS = 60_000;
const CALL_MS = 5000;

interface Opened {
  pool: Pool;
  /** The spec as text, to see a change. */
  spec: string;
  /** On performance.now()'s clock. */
  askedAt: number;
}

export interface PoolsOptions {
  nc: NatsConnection;
  nodeId: string;
  environment: PoolEnvironment;
  log: Logger;
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
    const there = this.#opened.get(poolId);
    if (there !== undefined && performance.now() - there.askedAt < SPEC_MS) return there.pool;
    const spec = await this.#ask(poolId, signal);
    const text = JSON.stringify(spec);
    // Looked at again: another job may have opened it meanwhile.
    const now = this.#opened.get(poolId);
    if (now !== undefined && now.spec === text) {
      now.askedAt = performance.now();
      return now.pool;
    }
    if (now !== undefined) this.#replaced.push(now.pool);
    const pool = this.poolFor(spec);
    this.#opened.set(poolId, { pool, spec: text, askedAt: performance.now() });
    return pool;
  }

  /** Opens a pool for one use; the caller closes it. PermanentError `pool_on_other_node` for another node's directory. */
  poolFor(spec: PoolSpec): Pool {
    const { nodeId, environment } = this.#options;
    if (spec.type === 'local' && spec.node_id !== nodeId) {
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

  async #ask(poolId: string, signal: AbortSignal): Promise<PoolSpec> {
    const { nc, nodeId, log } = this.#options;
    const backoff = new Backoff({ minMs: 100, maxMs: 5000 });
    for (;;) {
      try {
        const call = callCenter(nc, nodeId, 'pool', { pool_id: poolId }, { timeoutMs: CALL_MS });
        return (await orAborted(call, signal)).spec;
      } catch (error) {
        signal.throwIfAborted();
        if ((error as Partial<OpenServiceError>).outcome !== 'transient') throw error;
        log.debug({ pool_id: poolId, err: error }, 'No center tells the spec of the pool; asking on.');
        await backoff.wait(signal);
      }
    }
  }
}
