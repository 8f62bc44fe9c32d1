/** Tells a center what a pool holds, page by page, so that it can compare that with what it believes. */
import { isId } from '@openservice/domain';
import type { NodeReply, NodeRequest } from '@openservice/runtime';
import type { PoolAccess } from '../pools-access.ts';

type Listed = NodeReply<'pool_blocks'>['blocks'][number];

/** The center waits longer. */
const LIMIT_MS = 110_000;
/** A list that nobody goes on with is closed after this. */
const KEPT_MS = 60_000;
const LOOKS_AT_ONCE = 8;

interface Open {
  /** Where it goes on. */
  after: string;
  blocks: AsyncIterator<Listed>;
  stop: AbortController;
  /** While nobody goes on with it. */
  timer?: NodeJS.Timeout;
}

/** Remembers where each pool's list is, so that the next page does not begin the list again. One list a pool: who comes between begins anew. */
export class PoolBlocks {
  readonly #pools: PoolAccess;
  readonly #open = new Map<string, Open>();

  constructor(pools: PoolAccess) {
    this.#pools = pools;
  }

  async answer(request: NodeRequest<'pool_blocks'>): Promise<NodeReply<'pool_blocks'>> {
    if (request.ids !== null) return { blocks: await this.#lookAt(request.pool_id, request.ids), more: false };
    const list = this.#take(request.pool_id, request.after) ?? (await this.#begin(request.pool_id));
    const late = setTimeout(() => list.stop.abort(new Error('The list took too long.')), LIMIT_MS);
    try {
      const blocks: Listed[] = [];
      while (blocks.length < request.limit) {
        const { done, value } = await list.blocks.next();
        if (done === true) return { blocks, more: false };
        if (value.id > request.after) blocks.push(value);
      }
      list.after = blocks.at(-1)?.id ?? request.after;
      this.#keep(request.pool_id, list);
      return { blocks, more: true };
    } finally {
      clearTimeout(late);
    }
  }

  #take(poolId: string, after: string): Open | null {
    const open = this.#open.get(poolId);
    if (open === undefined) return null;
    this.#open.delete(poolId);
    clearTimeout(open.timer);
    if (open.after === after) return open;
    open.stop.abort(new Error('Another list has begun.'));
    return null;
  }

  #keep(poolId: string, list: Open): void {
    this.#open.get(poolId)?.stop.abort(new Error('Another list goes on.'));
    list.timer = setTimeout(() => {
      if (this.#open.get(poolId) === list) this.#open.delete(poolId);
      list.stop.abort(new Error('Nobody goes on with the list.'));
    }, KEPT_MS);
    list.timer.unref();
    this.#open.set(poolId, list);
  }

  async #begin(poolId: string): Promise<Open> {
    const stop = new AbortController();
    const pool = await this.#pools.get(poolId, stop.signal);
    async function* blocks(): AsyncGenerator<Listed> {
      let damaged: Listed[] = [];
      const onDamaged = (id: string): void => void damaged.push({ id, state: 'damaged' });
      for await (const { blockId, trashed } of pool.list(stop.signal, { trashed: true, onDamaged })) {
        yield* damaged;
        damaged = [];
        yield { id: blockId, state: trashed === true ? 'trashed' : 'committed' };
      }
      yield* damaged;
    }
    return { after: '', blocks: blocks(), stop };
  }

  /** One that cannot be looked at is damaged, hence there. */
  async #lookAt(poolId: string, ids: readonly string[]): Promise<Listed[]> {
    const signal = AbortSignal.timeout(LIMIT_MS);
    const pool = await this.#pools.get(poolId, signal);
    const wanted = ids.filter((id) => isId('block', id));
    const found: Listed[] = [];
    for (let i = 0; i < wanted.length; i += LOOKS_AT_ONCE) {
      const some = wanted.slice(i, i + LOOKS_AT_ONCE);
      const stats = await Promise.all(
        some.map((id) =>
          pool.stat(id, signal).catch((error: unknown) => {
            if (!isDamage(error)) throw error;
            return 'damaged' as const;
          }),
        ),
      );
      for (const [n, stat] of stats.entries()) {
        if (stat !== null) found.push({ id: some[n]!, state: stat === 'damaged' ? 'damaged' : 'committed' });
      }
    }
    return found;
  }
}

function isDamage(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('damaged_');
}
