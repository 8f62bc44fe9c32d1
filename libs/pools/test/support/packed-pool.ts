/** A packs pool in memory of tiny chunks, and nodes that use it: for tests of what happens to it when its objects are damaged. */
import { blake3 } from '@napi-rs/blake-hash';
import type { Backend } from '../../src/backend.ts';
import { createMemoryBackend } from '../../src/memory/backend.ts';
import { readPackIndex } from '../../src/packs/pack.ts';
import { createPacksPool, type PacksPoolOptions } from '../../src/packs/packs-pool.ts';
import type { BlockWriter, Pool, WriteSession } from '../../src/pool.ts';
import { inlineWorkers } from './inline-workers.ts';
import { seeded } from './random.ts';

export const CHUNK = 4096;
const signal = new AbortController().signal;

export class PackedPool {
  readonly backend: Backend;
  #fence = 0;

  constructor(backend: Backend = createMemoryBackend()) {
    this.backend = backend;
  }

  static async make(backend?: Backend): Promise<PackedPool> {
    const made = new PackedPool(backend);
    await made.node().probe({ create: true }, signal);
    return made;
  }

  /** Each node has an index cache of its own. */
  node(options: Partial<PacksPoolOptions> = {}): Pool {
    const collect = { wait: async () => {} };
    return createPacksPool({ id: 'pool-a', backend: this.backend, workers: inlineWorkers(), collect, ...options });
  }

  get nextFence(): number {
    return ++this.#fence;
  }

  session(blockId: string, chunks: number): WriteSession {
    return { blockId, size: chunks * CHUNK, chunkSize: CHUNK, jobId: `job-${blockId}`, attempt: 1, fence: this.nextFence };
  }

  /** Answers how many bytes of packs it took. */
  async write(blockId: string, chunks: readonly Buffer[], node = this.node()): Promise<number> {
    const before = await this.bytes('packs/');
    const writer = await node.openWriter(this.session(blockId, chunks.length), signal);
    await fill(writer, chunks);
    await writer.prepare(signal);
    await writer.commit(signal);
    await writer.close();
    return (await this.bytes('packs/')) - before;
  }

  /** For each chunk its bytes, or the error of reading it. */
  async read(blockId: string, node = this.node()): Promise<(Buffer | Error)[]> {
    const reader = await node.openReader(blockId, signal);
    const found: (Buffer | Error)[] = [];
    for (let index = 0; index * CHUNK < reader.size; index++) {
      const target = Buffer.alloc(CHUNK);
      found.push(
        await reader.readChunk(index, target, signal).then(
          () => target,
          (error: Error) => error,
        ),
      );
    }
    await reader.close();
    return found;
  }

  async keys(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for await (const { key } of this.backend.list(prefix, signal)) keys.push(key);
    return keys;
  }

  async bytes(prefix: string): Promise<number> {
    let sum = 0;
    for await (const { size } of this.backend.list(prefix, signal)) sum += size;
    return sum;
  }

  /** Changes one byte of the object. */
  async flip(key: string, at: number): Promise<void> {
    const bytes = await this.backend.get(key, null, signal);
    bytes[at < 0 ? bytes.length + at : at]! ^= 0x20;
    await this.backend.put(key, bytes, signal);
  }

  /** The only pack, and where its records lie. */
  async onlyPack(): Promise<{ key: string; offsets: number[] }> {
    const [key, ...others] = await this.keys('packs/');
    if (key === undefined || others.length > 0) throw new Error('there should be one pack');
    return { key, offsets: readPackIndex(await this.backend.get(key, null, signal)).map(({ offset }) => offset) };
  }
}

export async function fill(writer: BlockWriter, chunks: readonly Buffer[]): Promise<void> {
  for (const [index, bytes] of chunks.entries()) {
    if (writer.has(index)) continue;
    const digest = blake3(bytes);
    await writer.missing([digest]);
    await writer.put(index, digest, bytes, signal);
  }
}

export function noise(chunks: number, seed = 1): Buffer[] {
  const random = seeded(seed);
  return Array.from({ length: chunks }, () => Buffer.from(Array.from({ length: CHUNK }, () => random() * 256)));
}
