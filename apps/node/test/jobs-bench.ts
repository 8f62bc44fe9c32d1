/** Two real local pools and a dedup pool in a temp dir, an image to import, a center made by hand, and job contexts. */
import { mkdir, mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JobContext } from '@openservice/agent';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { newId, type PoolSpec, TransientError } from '@openservice/domain';
import { openPool, type Pool } from '@openservice/pools';
import { type JobParams, type JobResult, jobParams, type Progress } from '@openservice/protocol';
import { type CenterReply, type CenterRequest, createLog } from '@openservice/runtime';
import { ByteLimits } from '../src/byte-limits.ts';
import { ContentStore } from '../src/content/content-store.ts';
import { ImportRoots } from '../src/import-roots.ts';
import { makeHandlers } from '../src/jobs/all.ts';
import type { CenterCalls } from '../src/jobs/deps.ts';
import { Instances } from '../src/mounts/instances.ts';

export const CHUNK = 64 * 1024;
export const SIZE = 50 * CHUNK + 77;
const never = new AbortController().signal;

/** What a run leaves for the next one of the same job, and what it was seen to do. */
export interface HandContext<P> extends JobContext<P> {
  saved: unknown;
  steps: string[];
  last: Progress | null;
  /** Notes a step; throws where the run is to die there. */
  step(name: string): void;
}

export interface Crash {
  /** Throws there, as a process that dies would leave things. */
  at?: 'requestCommit' | 'assertLease' | 'preparing' | 'checkpoint';
  /** Throws at the step of this number, from 0. */
  atStep?: number;
  signal?: AbortSignal;
  onProgress?: () => void;
}

export function contextOf<P>(params: P, before: HandContext<unknown> | null = null, how: Crash = {}): HandContext<P> {
  const die = (step: string) => {
    context.steps.push(step);
    if (how.at === step || how.atStep === context.steps.length - 1) throw new TransientError('died', `The node died at ${step}.`);
  };
  const context: HandContext<P> = {
    jobId: before?.jobId ?? newId('job'),
    attempt: 1,
    fence: before?.fence ?? nextFence++,
    params,
    signal: how.signal ?? never,
    lastCheckpoint: before?.saved ?? null,
    saved: before?.saved ?? null,
    steps: [],
    last: null,
    step: die,
    async checkpoint(state) {
      die('checkpoint');
      context.saved = JSON.parse(JSON.stringify(state));
    },
    progress(progress) {
      context.last = progress;
      how.onProgress?.();
    },
    preparing: async () => die('preparing'),
    requestCommit: async (_result: JobResult) => die('requestCommit'),
    awaitLease: async () => undefined,
    assertLease: () => die('assertLease'),
    log: () => {},
  };
  return context;
}
let nextFence = 1;

/** A new attempt of the job of `before`, with a new fence, on the same node: its checkpoint comes along. */
export function nextAttempt<P>(params: P, before: HandContext<unknown>, how: Crash = {}): HandContext<P> {
  return Object.assign(contextOf(params, before, how), { attempt: before.attempt + 1, fence: nextFence++ });
}

/** Keeps what it was told; `fail` throws in place of the next answer. */
export class HandCenter implements CenterCalls {
  readonly recorded: CenterRequest<'record'>[] = [];
  readonly batches: CenterRequest<'found'>[] = [];
  recording: CenterReply<'record'> = { recorded: true, reason: '' };
  /** Called before an answer is given. */
  onCall: () => void | Promise<void> = () => undefined;

  async record(request: CenterRequest<'record'>): Promise<CenterReply<'record'>> {
    this.recorded.push(request);
    await this.onCall();
    return this.recording;
  }

  async found(request: CenterRequest<'found'>): Promise<CenterReply<'found'>> {
    this.batches.push(request);
    await this.onCall();
    return { added: request.blocks.length - 1, known: 1, conflicts: [] };
  }
}

export class Bench {
  readonly a = newId('pool');
  readonly b = newId('pool');
  /** The dedup pool. */
  readonly d = newId('pool');
  readonly pools = new Map<string, Pool>();
  readonly dir: string;
  readonly image: string;
  readonly workers: ChunkWorkers;
  readonly handlers: ReturnType<typeof makeHandlers>;
  readonly center = new HandCenter();
  readonly content: ContentStore;
  readonly instances: Instances;

  constructor(dir: string) {
    this.dir = dir;
    this.image = join(dir, 'disk.img');
    this.workers = createChunkWorkers({ threads: 1 });
    this.content = new ContentStore(join(dir, 'content'));
    this.instances = new Instances({
      directory: join(dir, 'instances'),
      socket: join(dir, 'nbd.sock'),
      tcp: { host: '127.0.0.1', port: 0 },
      advertise: '127.0.0.1',
      cacheBytes: 16 * 1024 * 1024,
      pool: async (id) => this.pools.get(id) ?? Promise.reject(new TransientError('unreachable', `Pool ${id} is away.`)),
      log: createLog({ name: 'bench', level: 'silent' }),
    });
    this.handlers = makeHandlers({
      limits: new ByteLimits(),
      instances: this.instances,
      pools: {
        get: async (id) => {
          const pool = this.pools.get(id);
          if (pool === undefined) throw new TransientError('unreachable', `Pool ${id} is away.`);
          return pool;
        },
      },
      importRoots: new ImportRoots([dir]),
      workers: this.workers,
      center: this.center,
      content: this.content,
      scratchDir: dir,
    });
  }

  static async make(): Promise<Bench> {
    const bench = new Bench(await mkdtemp(join(tmpdir(), 'jobs-')));
    for (const id of [bench.a, bench.b, bench.d]) {
      const place = { id, node_id: 'node-1', path: join(bench.dir, id) };
      await mkdir(place.path);
      const spec: PoolSpec = id === bench.d ? { ...place, type: 'dedup', encryption_key: null } : { ...place, type: 'local' };
      const pool = openPool(spec, { workers: bench.workers });
      await pool.probe({ create: true }, never);
      bench.pools.set(id, pool);
    }
    const handle = await open(bench.image, 'w');
    await handle.truncate(SIZE);
    await handle.write(Buffer.alloc(20 * CHUNK, 'some data'), 0, 20 * CHUNK, 5 * CHUNK);
    await handle.write(Buffer.from('the end'), 0, 7, SIZE - 7);
    await handle.close();
    return bench;
  }

  importParams(id: string, poolId: string = this.a): JobParams['import'] {
    return jobParams.import.parse({
      block_id: id,
      size: SIZE,
      chunk_size: CHUNK,
      pool_id: poolId,
      source: { type: 'file', node_id: 'node-1', path: this.image },
    });
  }

  /** A block in pool `a`, or another. */
  async imported(poolId: string = this.a) {
    const id = newId('block');
    const result = await this.handlers.import.run(contextOf(this.importParams(id, poolId)));
    return { id, size: SIZE, chunk_size: CHUNK, root_digest: result.root_digest ?? '' };
  }

  async has(poolId: string, blockId: string): Promise<boolean> {
    return (await this.pools.get(poolId)?.stat(blockId, never)) != null;
  }

  /** Flips a bit of the block's data in a local pool, or of the largest pack in the dedup pool. */
  async flipBit(poolId: string, blockId = ''): Promise<void> {
    const root = join(this.dir, poolId);
    const held = (name: string) => name.includes(poolId === this.d ? 'packs/' : blockId);
    let largest = { path: '', size: -1 };
    for (const name of await readdir(root, { recursive: true })) {
      const info = await stat(join(root, name));
      if (info.isFile() && held(name) && info.size > largest.size) largest = { path: join(root, name), size: info.size };
    }
    const handle = await open(largest.path, 'r+');
    const byte = Buffer.alloc(1);
    const at = Math.min(7 * CHUNK + 9, Math.floor(largest.size / 2));
    await handle.read(byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 4;
    await handle.write(byte, 0, 1, at);
    await handle.close();
  }

  /** Deletes the files of a block in a local pool, its manifest in the dedup pool; its ledger stays. */
  async lose(poolId: string, blockId: string): Promise<void> {
    const folder = join(this.dir, poolId, 'blocks', blockId);
    const names = await readdir(folder, { recursive: true });
    for (const name of names.filter((one) => /(^|\/)(manifest|disk\.raw)$/.test(one))) await rm(join(folder, name));
  }

  async close(): Promise<void> {
    for (const pool of this.pools.values()) await pool.close();
    await this.workers.close();
    await rm(this.dir, { recursive: true });
  }
}

export async function failure(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  return promise.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: Error) => error,
  );
}
