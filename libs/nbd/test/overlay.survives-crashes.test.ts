/**
 * A disk is written in random order, and at calls that change its files a crash is played: a kill, or a power cut that keeps what was
 * synced and a random part of what was not. Each image is opened again: what a flush acknowledged is there, byte for byte; anything else
 * is what was there before or what was put there since. OPENSERVICE_OVERLAY_CRASHES: scenarios; OPENSERVICE_OVERLAY_SEED: which.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LayeredDisk, MemoryDevice } from '@openservice/nbd';
import { expect } from 'chai';
import { CrashImages } from './support/crash-images.ts';
import { DiskModel } from './support/disk-model.ts';
import { Random } from './support/random.ts';

const SCENARIOS = Number(process.env.OPENSERVICE_OVERLAY_CRASHES ?? 8);
const SEED = Number(process.env.OPENSERVICE_OVERLAY_SEED ?? 20261124);
const SIZE = 20 * 4096 + 517;
const STEPS = 25;

interface Image {
  path: string;
  step: string;
  model: DiskModel;
}

function baseBytes(): Buffer {
  const bytes = Buffer.alloc(SIZE).map((_, at) => ((at * 31 + (at >> 8)) % 127) + 1) as Buffer;
  return bytes.fill(0, 4096, 3 * 4096);
}

function open(path: string): Promise<LayeredDisk> {
  const base = new MemoryDevice(SIZE, { readOnly: true });
  baseBytes().copy(base.bytes);
  // So tight that merges beside writers happen, blocks are made whole, and journals written anew.
  return LayeredDisk.open(path, base, { shortWaitBytes: 8192, limits: { partialBlocks: 4, journalBytes: 400 } });
}

class Scenario {
  readonly #dir: string;
  readonly #random: Random;
  readonly #kind: 'kill' | 'powerCut';
  readonly #model = new DiskModel(baseBytes());
  readonly #images: Image[] = [];
  #watch!: CrashImages;
  #taken = 0;
  #value = 0;
  readonly steps = new Set<string>();

  constructor(dir: string, seed: number, kind: 'kill' | 'powerCut') {
    this.#dir = dir;
    this.#random = new Random(seed);
    this.#kind = kind;
  }

  async run(): Promise<void> {
    const path = join(this.#dir, 'disk');
    await mkdir(path);
    this.#watch = await CrashImages.watch(path, (step) => this.#crash(step));
    try {
      const disk = await open(path);
      for (let i = 0; i < STEPS; i++) await this.#step(disk);
      await disk.close();
    } finally {
      this.#watch.stop();
    }
    await this.#prove();
  }

  async #step(disk: LayeredDisk): Promise<void> {
    const random = this.#random;
    const what = random.below(10);
    if (what === 0) {
      const frozen = await disk.freeze();
      for (let i = random.below(6); i > 0; i--) await this.#put(disk);
      const releasing = frozen.release();
      for (let i = random.below(6); i > 0; i--) await this.#put(disk);
      await releasing;
    } else if (what <= 2) {
      await disk.flush();
      this.#model.flushed();
    } else await this.#put(disk);
  }

  async #put(disk: LayeredDisk): Promise<void> {
    const random = this.#random;
    const offset = random.chance(50) ? random.below(20) * 4096 : random.below(SIZE - 1);
    const length = Math.min(SIZE - offset, random.chance(50) ? 4096 * (1 + random.below(4)) : 1 + random.below(6000));
    const zero = random.chance(30);
    const value = zero ? 0 : 128 + (this.#value++ % 127);
    const put = { offset, end: offset + length, value };
    this.#model.begin([put]);
    const bytes = Buffer.alloc(length, value);
    if (zero) await disk.zero(offset, length, { hole: true, fua: false });
    else if (random.chance(50) || !disk.writeNow(offset, bytes)) await disk.write(offset, bytes, false);
    bytes.copy(this.#model.bytes, offset);
  }

  #crash(step: string): void {
    this.steps.add(step.replaceAll(/\d+/g, 'N'));
    if (this.#taken >= 30 || !this.#random.chance(step.startsWith('write') ? 5 : 15)) return;
    const path = join(this.#dir, `image-${this.#taken++}`);
    if (this.#kind === 'kill') this.#watch.kill(path);
    else this.#watch.powerCut(path, this.#random);
    this.#images.push({ path, step, model: this.#model.clone() });
  }

  async #prove(): Promise<void> {
    for (const { path, step, model } of this.#images) {
      try {
        for (const again of ['', ', opened twice']) {
          const disk = await open(path);
          const bytes = Buffer.alloc(SIZE, 255);
          await disk.read(0, bytes);
          await disk.close();
          if (again === '') model.killed(bytes);
          else expect(bytes.equals(model.bytes), 'opened twice, it is the same').to.equal(true);
        }
      } catch (error) {
        throw new Error(`${this.#kind} before "${step}": ${(error as Error).message}`, { cause: error });
      }
      await rm(path, { recursive: true });
    }
  }
}

describe(`a disk over a base, through crashes (seed ${SEED})`, function () {
  this.timeout(30_000 + SCENARIOS * 4000);

  for (const kind of ['kill', 'powerCut'] as const) {
    it(`${kind === 'kill' ? 'kills' : 'power cuts'} at any step lose nothing that was flushed (${SCENARIOS} scenarios)`, async () => {
      const steps = new Set<string>();
      for (let i = 0; i < SCENARIOS; i++) {
        const dir = await mkdtemp(join(tmpdir(), 'openservice-overlay-'));
        try {
          const scenario = new Scenario(dir, SEED + i, kind);
          await scenario.run();
          for (const step of scenario.steps) steps.add(step);
        } catch (error) {
          throw new Error(`scenario ${SEED + i}: ${(error as Error).message}`, { cause: error });
        } finally {
          await rm(dir, { recursive: true, force: true });
        }
      }
      // The steps of a freeze and of a merge were among them.
      for (const step of [
        'mkdir /N',
        'rename /layers.json.new',
        'rm /N',
        'write /N/data',
        'write /N/map',
        'datasync /N/map',
        'rename /N/map.new',
      ])
        expect([...steps]).to.include(step);
    });
  }
});
