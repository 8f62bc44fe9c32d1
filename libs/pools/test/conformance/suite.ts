/** A pool of its own for a group of cases, and what the cases do with it. */
import type { BlockReader, BlockWriter, Pool, WriteSession } from '@openservice/pools';
import { expect } from 'chai';
import { Cases } from './cases.ts';
import { chunkBytes, count, digestAt, fill, rootOf, type TestBlock } from './content.ts';
import type { MakePool, PoolUnderTest } from './pool.ts';

export const KIB = 1024;
export const BLOCK: TestBlock = {
  size: 40 * 256 * KIB + 777,
  chunkSize: 256 * KIB,
  data: new Set([0, 1, 2, 7, 8, 20, 33, 39, 40]),
};
export const signal: AbortSignal = new AbortController().signal;

let seeds = 0;

/** BLOCK with smaller chunks. */
const SHAPE = { size: 40 * 64 * KIB + 777, chunkSize: 64 * KIB, data: BLOCK.data };

/** Content that no other case has; about 300 KiB when compressed. */
export function fresh(shape: Omit<TestBlock, 'seed'> = SHAPE): TestBlock {
  return { ...shape, seed: ++seeds };
}

/** A small block that no other case has. */
export function freshSmall(): TestBlock {
  return fresh({ size: 5 * 64 * KIB + 99, chunkSize: 64 * KIB, data: new Set([0, 1, 3, 5]) });
}

/** All pools and cases of a describePool. */
export class SuiteRun {
  readonly cases = new Cases();
  readonly make: MakePool;
  readonly #suites: PoolSuite[] = [];

  constructor(make: MakePool) {
    this.make = make;
  }

  /** A pool that the cases of a group share. */
  group(): PoolSuite {
    const suite = new PoolSuite(this);
    this.#suites.push(suite);
    return suite;
  }

  start(): void {
    for (const suite of this.#suites) suite.begin();
    this.cases.start();
  }

  async end(): Promise<void> {
    await this.cases.ended();
    for (const suite of this.#suites) await suite.end();
  }
}

export class PoolSuite {
  readonly #run: SuiteRun;
  readonly #opened: Pool[] = [];
  #first: () => Promise<void> = async () => {};
  #ready: Promise<void> | null = null;
  #place: PoolUnderTest | null = null;
  #pool: Pool | null = null;
  #serial = 0;

  constructor(run: SuiteRun) {
    this.#run = run;
  }

  /** The pool is there, and what comes first is done. */
  async ready(): Promise<void> {
    await this.#ready;
  }

  /** What is done before the cases of the group. */
  first(step: () => Promise<void>): void {
    this.#first = step;
  }

  /** A case of the group that shares its pool with the others, which run at the same time. */
  it(title: string, run: () => Promise<void>): void {
    this.#run.cases.add(title, async () => {
      await this.#ready;
      await run();
    });
  }

  /** A case that has a pool to itself. */
  alone(title: string, run: (suite: PoolSuite) => Promise<void>): void {
    this.#run.cases.add(title, async () => {
      const own = new PoolSuite(this.#run);
      try {
        await own.#start();
        await run(own);
      } finally {
        await own.end();
      }
    });
  }

  begin(): void {
    this.#ready = this.#start().then(() => this.#first());
    // Told by the cases.
    this.#ready.catch(() => {});
  }

  get pool(): Pool {
    return this.#pool!;
  }

  get place(): PoolUnderTest {
    return this.#place!;
  }

  async #start(): Promise<void> {
    this.#place = await this.#run.make();
    this.#pool = this.reopened();
    await this.#pool.probe({ create: true }, signal);
  }

  async end(): Promise<void> {
    await this.#ready?.catch(() => {});
    for (const opened of this.#opened) await opened.close();
    await this.#place?.destroy();
  }

  reopened(): Pool {
    const opened = this.place.open();
    this.#opened.push(opened);
    return opened;
  }

  newBlock(): string {
    return `block-${String(++this.#serial).padStart(4, '0')}`;
  }

  session(blockId: string, block: TestBlock, attempt = 1, jobId = `job-of-${blockId}`): WriteSession {
    return { blockId, size: block.size, chunkSize: block.chunkSize, jobId, attempt, fence: attempt };
  }

  open(blockId: string, block: TestBlock, attempt = 1, pool: Pool = this.pool): Promise<BlockWriter> {
    return pool.openWriter(this.session(blockId, block, attempt), signal);
  }

  /** A committed block of this content; answers its id. */
  async stored(block: TestBlock, more: Partial<WriteSession> = {}): Promise<string> {
    const blockId = more.blockId ?? this.newBlock();
    const writer = await this.pool.openWriter({ ...this.session(blockId, block), ...more }, signal);
    await this.finish(writer, block);
    return blockId;
  }

  async finish(writer: BlockWriter, block: TestBlock): Promise<void> {
    await fill(writer, block);
    await writer.prepare(signal);
    await writer.commit(signal);
    await writer.close();
  }

  /** The block is there, whole, for a process that opens the pool now. */
  async expectStored(blockId: string, block: TestBlock): Promise<void> {
    const pool = this.place.open();
    try {
      const reader = await pool.openReader(blockId, signal);
      expect(reader.rootDigest.equals(rootOf(block)), 'root digest').to.equal(true);
      await expectContent(reader, block);
      await reader.close();
    } finally {
      await pool.close();
    }
  }

  async expectGone(blockId: string, pool: Pool = this.pool): Promise<void> {
    expect(await pool.stat(blockId, signal)).to.equal(null);
    expect(await codeOf(pool.openReader(blockId, signal))).to.equal('block_not_in_pool');
  }

  async listed(options: { trashed?: boolean } = {}, pool: Pool = this.pool): Promise<string[]> {
    const found: string[] = [];
    for await (const stat of pool.list(signal, options)) found.push(stat.blockId);
    return found;
  }
}

export async function expectContent(reader: BlockReader, block: TestBlock): Promise<void> {
  expect(reader).to.include({ size: block.size, chunkSize: block.chunkSize });
  const target = Buffer.alloc(block.chunkSize);
  for (let index = 0; index < count(block); index++) {
    const expected = chunkBytes(block, index);
    target.fill(0xaa);
    const digest = await reader.readChunk(index, target, signal);
    expect(target.subarray(0, expected.length).equals(expected), `chunk ${index}`).to.equal(true);
    expect(digest.equals(digestAt(block, index)), `digest of chunk ${index}`).to.equal(true);
    expect(target.subarray(expected.length).every((byte) => byte === 0xaa)).to.equal(true);
  }
}

/** Chunks that cannot be read; any error but damage is thrown. */
export async function damagedChunks(pool: Pool, blockId: string, block: TestBlock): Promise<number[]> {
  const reader = await pool.openReader(blockId, signal);
  const damaged: number[] = [];
  const target = Buffer.alloc(block.chunkSize);
  try {
    for (const index of block.data) {
      const error = await thrown(reader.readChunk(index, target, signal));
      if (error === null) continue;
      if ((error as { code?: unknown }).code !== 'damaged_chunk') throw error;
      damaged.push(index);
    }
  } finally {
    await reader.close();
  }
  return damaged;
}

/** What the call was rejected with, or null. */
export async function thrown(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => null,
    (error: unknown) => error,
  );
}

export async function codeOf(call: Promise<unknown>): Promise<unknown> {
  return ((await thrown(call)) as { code?: unknown } | null)?.code;
}
