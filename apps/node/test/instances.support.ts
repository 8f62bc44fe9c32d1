/** Live disks over a bench's pools: what a node does with them at its start, after it died, and by its jobs. */
import { join } from 'node:path';
import { newId, TransientError } from '@openservice/domain';
import type { Pool } from '@openservice/pools';
import { type BlockRef, jobParams } from '@openservice/protocol';
import { createLog } from '@openservice/runtime';
import { ByteLimits } from '../src/byte-limits.ts';
import { ImportRoots } from '../src/import-roots.ts';
import { makeHandlers } from '../src/jobs/all.ts';
import { Instances } from '../src/mounts/instances.ts';
import { Bench, contextOf } from './jobs-bench.ts';

export const never = new AbortController().signal;

/** One life of a node's process. */
export interface Life {
  instances: Instances;
  handlers: ReturnType<typeof makeHandlers>;
}

export class LiveBench {
  readonly bench: Bench;
  /** Pools that are away for now. */
  readonly away = new Set<string>();
  life: Life;
  readonly #lives: Life[] = [];

  constructor(bench: Bench) {
    this.bench = bench;
    this.life = this.#begin();
  }

  static async make(): Promise<LiveBench> {
    const live = new LiveBench(await Bench.make());
    await live.life.instances.part.start(never);
    return live;
  }

  /** The process dies: what it held in memory is gone, and nothing is flushed. A new one begins. */
  async die(): Promise<void> {
    this.life = this.#begin();
    await this.life.instances.part.start(never);
  }

  pool(id: string): Pool {
    const pool = this.bench.pools.get(id);
    if (pool === undefined || this.away.has(id)) throw new TransientError('unreachable', `Pool ${id} is away.`);
    return pool;
  }

  loadParams(blocks: BlockRef[], more: { poolId?: string; name?: string; readOnly?: boolean } = {}) {
    const id = newId('ins');
    return jobParams.load.parse({
      instance_id: id,
      name: more.name ?? `disk of ${id}`,
      read_only: more.readOnly ?? false,
      disks: blocks.map((block, index) => ({ index, block, pool_id: more.poolId ?? this.bench.a })),
    });
  }

  async loaded(blocks: BlockRef[], more: { poolId?: string; name?: string; readOnly?: boolean } = {}): Promise<string> {
    const params = this.loadParams(blocks, more);
    await this.life.handlers.load.run(contextOf(params));
    return params.instance_id;
  }

  /** For `save` and `unload`: a new block of each disk. */
  saved(disks: number, poolId: string = this.bench.a) {
    return Array.from({ length: disks }, (_, index) => ({ index, block_id: newId('block'), pool_id: poolId }));
  }

  async write(id: string, index: number, offset: number, bytes: Buffer): Promise<void> {
    await this.life.instances.get(id).disk(index).exported.device.write(offset, bytes, true);
  }

  async read(id: string, index = 0, offset = 0, length?: number): Promise<Buffer> {
    const { device } = this.life.instances.get(id).disk(index).exported;
    const bytes = Buffer.alloc(length ?? device.size);
    await device.read(offset, bytes);
    return bytes;
  }

  /** What a pool holds of a block. */
  async content(poolId: string, blockId: string): Promise<Buffer> {
    const reader = await this.pool(poolId).openReader(blockId, never);
    try {
      return await reader.read(0, reader.size, never);
    } finally {
      await reader.close();
    }
  }

  async close(): Promise<void> {
    await this.life.instances.part.stop();
    await this.bench.close();
    // The others died: only now can they flush without harm into files that had become another's.
    for (const { instances } of this.#lives) if (instances !== this.life.instances) await instances.part.stop();
  }

  #begin(): Life {
    const { bench } = this;
    const { dir, workers, center, content } = bench;
    const get = async (id: string): Promise<Pool> => this.pool(id);
    const instances = new Instances({
      directory: join(dir, 'live'),
      socket: join(dir, `nbd-${this.#lives.length}.sock`),
      tcp: { host: '127.0.0.1', port: 0 },
      advertise: '127.0.0.1',
      cacheBytes: 16 * 1024 * 1024,
      pool: get,
      jobsBackMs: 0,
      log: createLog({ name: 'bench', level: 'silent' }),
    });
    const handlers = makeHandlers({
      limits: new ByteLimits(),
      instances,
      pools: { get },
      importRoots: new ImportRoots([dir]),
      workers,
      center,
      content,
      scratchDir: dir,
    });
    const life = { instances, handlers };
    this.#lives.push(life);
    return life;
  }
}
