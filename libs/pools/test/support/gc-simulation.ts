/**
 * Jobs that write, copy, trash and remove blocks of one packs pool from several nodes, and collections beside them: what a center would have
 * them do, with nodes that crash and attempts that are taken for dead and go on. `simulate` throws where something that a block needs is gone,
 * a block reads otherwise than it was written, or garbage stays.
 */
import { blake3 } from '@napi-rs/blake-hash';
import { FencedError, OpenServiceError } from '@openservice/domain';
import { HOLE_DIGEST } from '../../src/manifest.ts';
import { createPacksPool, type PacksPoolOptions } from '../../src/packs/packs-pool.ts';
import type { BlockWriter, Pool, WriteSession } from '../../src/pool.ts';
import { inlineWorkers } from './inline-workers.ts';
import { type Random, seeded, seedRandomBytes } from './random.ts';
import { References } from './references.ts';
import { Machine, World } from './world.ts';

const CHUNK = 96;
const signal = new AbortController().signal;
const workers = inlineWorkers();

export type Op =
  | { kind: 'write'; content: number[]; abort: boolean }
  | { kind: 'clone'; from: number }
  | { kind: 'trash' }
  | { kind: 'untrash' }
  | { kind: 'remove' };

export interface Scenario {
  seed: number;
  nodes: number;
  /** Keys in a page of a listing. */
  pageSize: number;
  /** Names that a round of collection condemns at most. */
  mostNames: number;
  /** For each block what is done to it, one after the other. */
  blocks: Op[][];
  /** Collections, one list a collector; each number: ms that it waits for sessions. */
  collectors: number[][];
  /** After so many calls a node crashes, and starts anew. */
  crashes: number[];
  /** After so many calls of an attempt it is taken for dead, and goes on beside its successor; 0: never. */
  patience: number;
}

export type Mutation = 'withoutSecondMark' | 'withoutAvoiding' | 'withoutWaiting' | null;

/** Answers how many calls reached the store. */
export async function simulate(scenario: Scenario, mutation: Mutation = null): Promise<number> {
  const restore = seedRandomBytes(seeded(scenario.seed + 1));
  try {
    const simulation = new Simulation(scenario, mutation);
    await simulation.run();
    return simulation.world.picks;
  } finally {
    restore();
  }
}

interface Node {
  machine: Machine;
  pool: Pool;
}

/** What is known of a block by whoever asked for the last change and was told that it was done. */
interface Known {
  state: 'absent' | 'committed' | 'trashed';
  content: number[];
}

class Simulation {
  readonly world: World;
  readonly #scenario: Scenario;
  readonly #mutation: Mutation;
  readonly #random: Random;
  readonly #references: References;
  readonly #nodes: Node[];
  readonly #blocks: Known[];
  #fence = 0;
  #jobs = 0;
  #failure: unknown = null;

  constructor(scenario: Scenario, mutation: Mutation) {
    this.#scenario = scenario;
    this.#mutation = mutation;
    this.#random = seeded(scenario.seed);
    const fail = (error: Error): void => {
      this.#failure ??= error;
    };
    this.world = new World(this.#random, scenario.pageSize, {
      onRemoved: (key) => this.#references.removed(key, fail),
      onWritten: (key) => this.#references.written(key, fail),
    });
    this.#references = new References(this.world.objects);
    this.#nodes = Array.from({ length: scenario.nodes }, (_, number) => this.#start(number));
    this.#blocks = scenario.blocks.map(() => ({ state: 'absent', content: [] }));
  }

  async run(): Promise<void> {
    await this.#directly(() => this.#nodes[0]!.pool.probe({ create: true }, signal));
    const work = [
      ...this.#scenario.blocks.map((ops, block) => this.#allOf(block, ops)),
      ...this.#scenario.collectors.map((limits) => this.#collector(limits)),
      ...this.#scenario.crashes.map((count) => this.#crashAfter(count)),
      this.#changePaces(),
    ];
    let ended = false;
    const all = Promise.all(work).then(
      () => {
        ended = true;
      },
      (error: unknown) => {
        this.#failure ??= error;
        ended = true;
      },
    );
    await this.world.run();
    if (this.#failure !== null) throw this.#failure;
    if (!ended) throw new Error('something waits for ever');
    await all;
    await this.#directly(() => this.#settled());
  }

  /** Without other calls in between. */
  async #directly(step: () => Promise<unknown>): Promise<void> {
    this.world.direct = true;
    await step();
    this.world.direct = false;
    if (this.#failure !== null) throw this.#failure;
  }

  #start(number: number): Node {
    const machine = new Machine(number);
    const collect: PacksPoolOptions['collect'] = { wait: () => this.world.turn(machine), mostNames: this.#scenario.mostNames };
    if (this.#mutation !== null) collect[this.#mutation] = true;
    return { machine, pool: createPacksPool({ id: 'pool-1', backend: this.world.backend(machine), workers, collect }) };
  }

  async #crashAfter(count: number): Promise<void> {
    await this.world.after(count);
    const at = Math.floor(this.#random() * this.#nodes.length);
    const { machine } = this.#nodes[at]!;
    this.world.crash(machine);
    this.#nodes[at] = this.#start(machine.number);
  }

  /** A node may be slow for a while. */
  async #changePaces(): Promise<void> {
    for (let i = 0; i < 12; i++) {
      for (const { machine } of this.#nodes) machine.pace = this.#random() < 0.3 ? 0.02 : this.#random() + 0.1;
      await this.world.after(40);
    }
  }

  /** One job after the other; each is tried again, with a higher fence and anywhere, until it is done. */
  async #allOf(block: number, ops: Op[]): Promise<void> {
    for (const op of ops) {
      const known = this.#blocks[block]!;
      if (!possible(op, known)) continue;
      const jobId = `job-${++this.#jobs}`;
      for (let attempt = 1; !(await this.#attempt(block, op, jobId, attempt)); attempt++) {
        if (attempt > 60) throw new Error(`${op.kind} of block ${block} never gets done`);
      }
    }
  }

  /** False: to be tried again. */
  async #attempt(block: number, op: Op, jobId: string, attempt: number): Promise<boolean> {
    const { machine, pool } = this.#nodes[Math.floor(this.#random() * this.#nodes.length)]!;
    const fence = ++this.#fence;
    await Promise.race([this.world.turn(machine), machine.crashed]);
    const content = op.kind === 'write' ? op.content : op.kind === 'clone' ? this.#blocks[op.from]!.content : [];
    const session = { blockId: blockId(block), size: sizeOf(content), chunkSize: CHUNK, jobId, attempt, fence };
    const done = this.#once(pool, block, op, session).then(
      (known) => ({ known, error: null }),
      (error: unknown) => ({ known: null, error }),
    );
    const { patience } = this.#scenario;
    // The first few are given up early: what is taken for dead may well go on.
    const limit =
      patience > 0 && attempt <= 2
        ? [this.world.after(Math.ceil(patience * this.#random())).then(() => 'given up' as const)]
        : [];
    const end = await Promise.race([done, machine.crashed, ...limit]);
    if (end === 'crashed' || end === 'given up') {
      void done.then(({ error }) => error !== null && this.#expectOurs(error));
      return false;
    }
    if (end.known !== null) {
      this.#blocks[block] = end.known;
      return true;
    }
    this.#expectOurs(end.error);
    if (end.error instanceof FencedError) throw new Error(`the newest attempt was fenced off: ${end.error.message}`);
    const { code } = end.error as OpenServiceError;
    if (op.kind === 'clone' && code === 'block_not_in_pool') return this.#giveUp(block, jobId);
    if (code !== 'collection_under_way') throw end.error;
    return false;
  }

  /** A job that cannot be done leaves nothing. */
  async #giveUp(block: number, jobId: string): Promise<boolean> {
    for (let attempt = 1; !(await this.#attempt(block, { kind: 'remove' }, jobId, attempt)); attempt++);
    return true;
  }

  async #once(pool: Pool, block: number, op: Op, session: WriteSession): Promise<Known> {
    const { blockId: id, fence } = session;
    const absent: Known = { state: 'absent', content: [] };
    const { content } = this.#blocks[block]!;
    if (op.kind === 'remove') return pool.remove(id, fence, signal).then(() => absent);
    if (op.kind === 'trash') return pool.trash(id, fence, signal).then(() => ({ state: 'trashed', content }));
    if (op.kind === 'untrash') return pool.untrash(id, fence, signal).then(() => ({ state: 'committed', content }));
    if (op.kind === 'clone') {
      // As it is when it is copied: whoever writes the source anew writes another block.
      const copied = this.#blocks[op.from]!.content;
      const writer = await pool.openClone(blockId(op.from), { ...session, size: sizeOf(copied) }, signal);
      await writer!.prepare(signal);
      await writer!.commit(signal);
      await writer!.close();
      return { state: 'committed', content: await this.#contentOf(pool, id) };
    }
    const writer = await pool.openWriter(session, signal);
    await this.#fill(writer, op.content);
    if (op.abort) await writer.abort(signal);
    else {
      await writer.prepare(signal);
      await writer.commit(signal);
    }
    await writer.close();
    return op.abort ? absent : { state: 'committed', content: op.content };
  }

  async #fill(writer: BlockWriter, content: number[]): Promise<void> {
    const put = async (index: number): Promise<void> => {
      if (writer.has(index)) return;
      const bytes = chunkOf(content[index]!);
      if (content[index] === 0) return writer.hole(index, 1);
      const digest = blake3(bytes);
      const [missing] = await writer.missing([digest]);
      try {
        await writer.put(index, digest, missing || this.#random() < 0.3 ? bytes : Buffer.alloc(0), signal);
      } catch (error) {
        if (!(error instanceof OpenServiceError) || error.code !== 'chunk_bytes_needed') throw error;
        await writer.put(index, digest, bytes, signal);
      }
    };
    for (let index = 0; index < content.length; ) {
      const together = Math.min(content.length - index, 1 + Math.floor(this.#random() * 3));
      await Promise.all(Array.from({ length: together }, (_, i) => put(index + i)));
      index += together;
      if (this.#random() < 0.3) await writer.checkpoint(signal);
    }
  }

  async #collector(limits: number[]): Promise<void> {
    for (const waitLimit of limits) while ((await this.#collect(waitLimit)) === 'crashed');
  }

  /** Tried again where its node crashed, as any job: what it condemned is void to others until then. */
  async #collect(waitLimit: number): Promise<'crashed' | undefined> {
    const { machine, pool } = this.#nodes[Math.floor(this.#random() * this.#nodes.length)]!;
    await this.world.after(Math.floor(this.#random() * 120));
    const done = pool.collect({ jobId: `gc-${++this.#jobs}`, waitLimit }, signal).then(
      ({ damaged }) => {
        if (damaged.length > 0) throw new Error(`a collection found ${damaged[0]!.message}`);
      },
      (error: unknown) => {
        if (!(error instanceof OpenServiceError) || error.code !== 'collection_under_way') throw error;
      },
    );
    return (await Promise.race([done, machine.crashed])) ?? undefined;
  }

  /** All is quiet: what is there reads back, and two collections leave nothing else. */
  async #settled(): Promise<void> {
    for (let i = 0; i < 2; i++) {
      const { pool } = this.#start(99);
      const report = await pool.collect({ jobId: `last-${i}` }, signal);
      if (report.damaged.length > 0 || report.keptObjects > 0)
        throw new Error(`the pool is at rest, but the collection says ${JSON.stringify(report)}`);
    }
    const { pool } = this.#start(99);
    for (const [block, known] of this.#blocks.entries()) {
      if (known.state === 'trashed') await pool.untrash(blockId(block), ++this.#fence, signal);
      const there = await pool.stat(blockId(block), signal);
      if ((there !== null) !== (known.state !== 'absent')) throw new Error(`block ${block} should be ${known.state}`);
      if (there === null) continue;
      const found = await this.#contentOf(pool, blockId(block));
      if (found.join() !== known.content.join()) throw new Error(`block ${block} reads ${found}, not ${known.content}`);
    }
    this.#references.expectNothingElse();
  }

  async #contentOf(pool: Pool, id: string): Promise<number[]> {
    const reader = await pool.openReader(id, signal);
    const content: number[] = [];
    const target = Buffer.alloc(CHUNK);
    for (let index = 0; index * CHUNK < reader.size; index++) {
      const digest = await reader.readChunk(index, target, signal);
      const value = digest.equals(HOLE_DIGEST) ? 0 : target[0]!;
      if (!target.equals(chunkOf(value))) throw new Error(`chunk ${index} of ${id} reads wrong`);
      content.push(value);
    }
    await reader.close();
    return content;
  }

  #expectOurs(error: unknown): void {
    if (!(error instanceof OpenServiceError)) this.#failure ??= error;
  }
}

function possible(op: Op, { state }: Known): boolean {
  if (op.kind === 'write' || op.kind === 'clone') return state === 'absent';
  if (op.kind === 'trash') return state === 'committed';
  if (op.kind === 'untrash') return state === 'trashed';
  return true;
}

function blockId(block: number): string {
  return `block-${block}`;
}

function sizeOf(content: number[]): number {
  return content.length * CHUNK;
}

/** 0: a hole. */
function chunkOf(value: number): Buffer {
  return Buffer.alloc(CHUNK, value);
}
