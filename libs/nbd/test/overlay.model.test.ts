/**
 * A disk that is written, zeroed, read, flushed, held still, let go, rewound, closed and killed in random order, many calls at once, with
 * borders anywhere, beside a model of each byte. OPENSERVICE_OVERLAY_RUNS: how many; OPENSERVICE_OVERLAY_SEED: which.
 */
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FrozenDisk, LayeredDisk, type LayeredDiskOptions, MemoryDevice } from '@openservice/nbd';
import { expect } from 'chai';
import fc from 'fast-check';
import { DiskModel, type Put } from './support/disk-model.ts';

const RUNS = Number(process.env.OPENSERVICE_OVERLAY_RUNS ?? 80);
const SEED = Number(process.env.OPENSERVICE_OVERLAY_SEED ?? 20261124);
/** The last block is short. */
const SIZE = 9 * 4096 + 517;
/** Values of writes; the base has none of them. */
const WRITTEN = 128;

type Call =
  | { kind: 'write' | 'writeNow' | 'zero'; offset: number; length: number; fua: boolean }
  | { kind: 'read'; offset: number; length: number };
type Step =
  | { kind: 'calls'; calls: Call[]; beside: 'nothing' | 'flush' | 'freeze' | 'release' }
  | { kind: 'flush' | 'reopen' | 'kill' | 'rewind' };

const range = fc
  .tuple(
    fc.oneof(
      fc.integer({ min: 0, max: SIZE - 1 }),
      fc.integer({ min: 0, max: 9 }).map((block) => block * 4096),
    ),
    fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.constantFrom(4096, 8192, SIZE)),
  )
  .map(([offset, length]) => ({ offset, length: Math.min(length, SIZE - offset) }));
const call: fc.Arbitrary<Call> = fc
  .tuple(fc.constantFrom('write', 'write', 'writeNow', 'zero', 'read'), range, fc.integer({ min: 0, max: 5 }))
  .map(([kind, where, n]) => (kind === 'read' ? { kind, ...where } : { kind, ...where, fua: n === 0 }) as Call);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('calls' as const),
      calls: fc.array(call, { minLength: 1, maxLength: 5 }),
      beside: fc.constantFrom('nothing', 'nothing', 'flush', 'freeze', 'release'),
    }),
  },
  { weight: 3, arbitrary: fc.constantFrom<Step>({ kind: 'flush' }, { kind: 'reopen' }, { kind: 'kill' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'rewind' }) },
);

class Run {
  readonly #dir: string;
  readonly #base: Buffer;
  #generation = 0;
  #disk!: LayeredDisk;
  #frozen: { disk: FrozenDisk; bytes: Buffer } | null = null;
  readonly #model: DiskModel;
  #value = 0;
  readonly #hot: boolean;
  readonly #options: LayeredDiskOptions;

  constructor(dir: string, hot: boolean, tight: boolean) {
    this.#dir = dir;
    this.#hot = hot;
    // So tight that blocks are made whole, journals written anew and layers merged beside writers all the time.
    this.#options = tight ? { shortWaitBytes: 4096, limits: { partialBlocks: 3, pendingChanges: 9, journalBytes: 200 } } : {};
    this.#base = Buffer.alloc(SIZE).map((_, at) => ((at * 31 + (at >> 8)) % (WRITTEN - 1)) + 1) as Buffer;
    this.#base.fill(0, 4096, 3 * 4096);
    this.#model = new DiskModel(this.#base);
  }

  async start(): Promise<void> {
    const base = new MemoryDevice(SIZE, { readOnly: true, hot: this.#hot });
    this.#base.copy(base.bytes);
    this.#disk = await LayeredDisk.open(this.#path, base, this.#options);
  }

  get #path(): string {
    return join(this.#dir, String(this.#generation));
  }

  async take(step: Step): Promise<void> {
    switch (step.kind) {
      case 'calls':
        return this.#calls(step.calls, step.beside);
      case 'flush':
        await this.#disk.flush();
        return this.#model.flushed();
      case 'reopen':
        await this.#letGo();
        await this.#disk.close();
        this.#model.flushed();
        await this.start();
        return this.#check('after it was opened again');
      case 'kill':
        return this.#kill();
      case 'rewind':
        await this.#letGo();
        await this.#disk.rewind();
        this.#model.settle([], Buffer.from(this.#model.bytes), 'before a rewind');
        this.#base.copy(this.#model.bytes);
        this.#model.flushed();
        return this.#check('after a rewind');
    }
  }

  async end(): Promise<void> {
    await this.#letGo();
    await this.#check('at the end');
    await this.#disk.close();
  }

  async #calls(calls: readonly Call[], beside: string): Promise<void> {
    const puts: Put[] = [];
    const reads: { offset: number; bytes: Buffer }[] = [];
    const before = Buffer.from(this.#model.bytes);
    const frozenBefore = this.#frozen;
    const other = beside === 'release' ? this.#letGo() : beside === 'flush' ? this.#disk.flush() : Promise.resolve();
    const freezing = beside === 'freeze' && this.#frozen === null ? this.#disk.freeze() : null;
    await Promise.all([other, ...calls.map((one) => this.#start(one, puts, reads))]);
    const frozen = await freezing;
    for (const { offset, bytes } of reads) this.#model.mayRead(puts, offset, bytes);
    await this.#check(`after ${calls.length} calls`, puts);
    if (frozen !== null) {
      // Of one moment during the calls: from then on it stays.
      const bytes = await readAll(frozen.device);
      const during = new DiskModel(before);
      during.mayRead(puts, 0, bytes);
      this.#frozen = { disk: frozen, bytes };
    }
    if (this.#frozen !== null && this.#frozen === frozenBefore) await this.#checkFrozen();
    if (calls.length > 0 && calls.every((one) => one.kind !== 'read' && one.kind !== 'writeNow' && one.fua))
      this.#model.flushed();
  }

  async #start(call: Call, puts: Put[], reads: { offset: number; bytes: Buffer }[]): Promise<void> {
    const { offset, length } = call;
    const end = offset + length;
    if (call.kind === 'read') {
      const bytes = Buffer.alloc(length, 255);
      if (!this.#disk.readNow(offset, bytes)) await this.#disk.read(offset, bytes);
      reads.push({ offset, bytes });
      return;
    }
    if (call.kind === 'zero') {
      puts.push({ offset, end, value: 0 });
      return this.#disk.zero(offset, length, { hole: true, fua: call.fua });
    }
    const value = WRITTEN + (this.#value++ % 127);
    puts.push({ offset, end, value });
    const bytes = Buffer.alloc(length, value);
    if (call.kind === 'writeNow' && this.#disk.writeNow(offset, bytes)) return;
    return this.#disk.write(offset, bytes, call.fua);
  }

  /** The files as they are at this moment are all that is left. */
  async #kill(): Promise<void> {
    const from = this.#path;
    const old = this.#disk;
    this.#generation++;
    await cp(from, this.#path, { recursive: true });
    this.#frozen = null;
    await old.close();
    await rm(from, { recursive: true });
    await this.start();
    this.#model.killed(await readAll(this.#disk));
  }

  async #letGo(): Promise<void> {
    if (this.#frozen === null) return;
    await this.#checkFrozen();
    const { disk } = this.#frozen;
    this.#frozen = null;
    await disk.release();
  }

  async #checkFrozen(): Promise<void> {
    const { disk, bytes } = this.#frozen!;
    const now = await readAll(disk.device);
    expect(now.equals(bytes), 'what is held still stays').to.equal(true);
    // Whatever is not told as changed is the base's.
    let at = 0;
    for (const { offset, length } of [...disk.changed, { offset: SIZE, length: 0 }]) {
      expect(offset, 'changed ranges ascend').to.be.at.least(at);
      expect(now.subarray(at, offset).equals(this.#base.subarray(at, offset)), `unchanged ${at} … ${offset}`).to.equal(true);
      at = offset + length;
    }
  }

  async #check(what: string, puts: Put[] = []): Promise<void> {
    this.#model.settle(puts, await readAll(this.#disk), what);
    await this.#checkExtents();
  }

  async #checkExtents(): Promise<void> {
    for (let at = 0; at < SIZE; ) {
      const found = await this.#disk.extents(at, SIZE - at, 3);
      expect(found.length).to.be.within(1, 3);
      for (const { length, zero } of found) {
        expect(length).to.be.greaterThan(0);
        const zeros = this.#model.bytes.subarray(at, at + length).every((byte) => byte === 0);
        if (zero) expect(zeros, `${at} … ${at + length} is told to be zeros`).to.equal(true);
        at += length;
      }
      expect(at).to.be.at.most(SIZE);
    }
  }
}

async function readAll(device: { size: number; read(offset: number, target: Buffer): Promise<void> }): Promise<Buffer> {
  const bytes = Buffer.alloc(device.size, 255);
  await device.read(0, bytes);
  return bytes;
}

describe(`a disk over a base (model, seed ${SEED})`, function () {
  this.timeout(60_000 + RUNS * 500);

  it(`holds what was written to it in ${RUNS} runs`, async () => {
    const scenarios = fc.tuple(fc.boolean(), fc.boolean(), fc.array(step, { minLength: 4, maxLength: 25 }));
    const property = fc.asyncProperty(scenarios, async ([hot, tight, steps]) => {
      const dir = await mkdtemp(join(tmpdir(), 'openservice-overlay-'));
      try {
        const run = new Run(dir, hot, tight);
        await run.start();
        for (const one of steps) await run.take(one);
        await run.end();
      } finally {
        await rm(dir, { recursive: true, force: true });
      }
    });
    await fc.assert(property, { numRuns: RUNS, seed: SEED });
  });
});
