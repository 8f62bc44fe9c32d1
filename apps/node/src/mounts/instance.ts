/** One instance: its disks, each a base and, unless it is read-only, what was written over it. */
import { PermanentError } from '@openservice/domain';
import {
  type FrozenDisk,
  LayeredDisk,
  type NbdExport,
  newCounters,
  ReaderDevice,
  SwitchDevice,
  type UnitCache,
} from '@openservice/nbd';
import type { Pool } from '@openservice/pools';
import type { InstanceReport } from '@openservice/protocol';
import { BaseReader } from './base-reader.ts';
import type { InstanceFiles, InstanceRecord } from './instance-file.ts';
import { standstill } from './standstill.ts';

export interface InstanceDeps {
  files: InstanceFiles;
  cache: UnitCache;
  pool: (poolId: string, signal: AbortSignal) => Promise<Pool>;
}

export interface LiveDisk {
  readonly index: number;
  /** What is served; the same under both names of the export. */
  readonly exported: NbdExport;
  /** Names of the export; the first is by the instance's id. */
  readonly names: string[];
  base: BaseReader;
  /** Null: read-only. */
  readonly layers: LayeredDisk | null;
  /** Holds all that clients ask for, where it must stand still together with other disks. */
  readonly gate: SwitchDevice | null;
}

export class Instance {
  readonly disks: LiveDisk[];
  readonly #deps: InstanceDeps;
  #record: InstanceRecord;

  private constructor(deps: InstanceDeps, record: InstanceRecord, disks: LiveDisk[]) {
    this.#deps = deps;
    this.#record = record;
    this.disks = disks;
  }

  /** Its pools need not be there: reads then fail until they are. All disks or none. */
  static async open(deps: InstanceDeps, record: InstanceRecord): Promise<Instance> {
    const disks: LiveDisk[] = [];
    try {
      for (const disk of record.disks) disks.push(await openDisk(deps, record, disk));
      return new Instance(deps, record, disks);
    } catch (error) {
      await Promise.allSettled(disks.map(({ exported }) => exported.device.close()));
      throw error;
    }
  }

  get id(): string {
    return this.#record.instance_id;
  }

  get record(): InstanceRecord {
    return this.#record;
  }

  disk(index: number): LiveDisk {
    const found = this.disks.find((disk) => disk.index === index);
    if (found === undefined) throw new PermanentError('instance_not_found', `Instance ${this.id} has no disk ${index}.`);
    return found;
  }

  /** Every disk's base is there and is what it should be. */
  async prove(signal: AbortSignal): Promise<void> {
    await Promise.all(this.disks.map(({ base }) => base.prove(signal)));
  }

  /** As `prove`, in the background and until it is so. */
  seek(): void {
    for (const { base } of this.disks) base.seek();
  }

  /** Remembered durably once it resolves. */
  async note(change: Partial<Pick<InstanceRecord, 'loaded_by' | 'held' | 'disks'>>): Promise<void> {
    const record = { ...this.#record, ...change };
    await this.#deps.files.write(record);
    this.#record = record;
  }

  /** Holds disks still, all at the same moment. PermanentError `instance_read_only`. */
  async freeze(indexes: readonly number[]): Promise<FrozenDisk[]> {
    const layers = indexes.map((index) => this.#writable(index));
    // Clients wait while what they wrote goes to the disk; most of it goes now.
    await Promise.all(layers.map((disk) => disk.flush()));
    const gates = this.disks.flatMap(({ gate }) => gate ?? []);
    const frozen: FrozenDisk[] = [];
    try {
      await standstill(gates, async () => {
        for (const disk of layers) frozen.push(await disk.freeze());
      });
      return frozen;
    } catch (error) {
      await Promise.allSettled(frozen.map((disk) => disk.release()));
      throw error;
    }
  }

  /** Nobody may be connected. */
  async rewind(): Promise<void> {
    for (const { index } of this.disks) await this.#writable(index).rewind();
  }

  /** The disk's base is read from another pool, now and after a restart. */
  async rebase(index: number, poolId: string, signal: AbortSignal): Promise<void> {
    const disk = this.disk(index);
    const { block, pool_id } = this.#known(index);
    if (pool_id === poolId) return;
    const base = baseOf(this.#deps, { block, pool_id: poolId });
    const next = new ReaderDevice({ reader: base, cache: this.#deps.cache });
    try {
      await base.prove(signal);
      await this.note({ disks: this.#record.disks.map((one) => (one.index === index ? { ...one, pool_id: poolId } : one)) });
    } catch (error) {
      await next.close();
      throw error;
    }
    if (disk.layers !== null) await disk.layers.swapBase(next);
    else await swap(disk.exported.device as SwitchDevice, next);
    disk.base = base;
  }

  async report(socket: string): Promise<InstanceReport> {
    const disks = await Promise.all(
      this.disks.map(async ({ index, exported, names, layers }) => {
        const { block, pool_id } = this.#known(index);
        const { bytesRead, bytesWritten, connections } = exported.counters;
        return {
          index,
          block_id: block.id,
          pool_id,
          overlay_bytes: (await layers?.storedBytes()) ?? 0,
          bytes_read: bytesRead,
          bytes_written: bytesWritten,
          connections,
          socket,
          exports: names,
        };
      }),
    );
    const trouble = this.disks.map(({ base }) => base.trouble).find((one) => one !== null) ?? null;
    return { instance_id: this.id, state: trouble === null ? 'loaded' : 'error', message: trouble, disks };
  }

  async close(): Promise<void> {
    const outcomes = await Promise.allSettled(this.disks.map(({ exported }) => exported.device.close()));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  #known(index: number): InstanceRecord['disks'][number] {
    return this.#record.disks.find((one) => one.index === index)!;
  }

  #writable(index: number): LayeredDisk {
    const { layers } = this.disk(index);
    if (layers !== null) return layers;
    throw new PermanentError('instance_read_only', `Instance ${this.id} is read-only: nothing was ever written to it.`);
  }
}

async function openDisk(deps: InstanceDeps, record: InstanceRecord, disk: InstanceRecord['disks'][number]): Promise<LiveDisk> {
  const base = baseOf(deps, disk);
  const read = new ReaderDevice({ reader: base, cache: deps.cache });
  const layers = record.read_only ? null : await LayeredDisk.open(deps.files.diskPath(record.instance_id, disk.index), read);
  const several = record.disks.length > 1;
  const gate = layers !== null && several ? new SwitchDevice(layers) : null;
  const device = gate ?? layers ?? new SwitchDevice(read);
  const tail = several ? `/${disk.index}` : '';
  const names = [`${record.instance_id}${tail}`, `${record.name}${tail}`];
  const description = `${record.name}, disk ${disk.index}: block ${disk.block.id}`;
  return {
    index: disk.index,
    base,
    layers,
    gate,
    names,
    exported: { name: names[0]!, description, device, counters: newCounters() },
  };
}

/** The new one is in its place; the one before is closed once nothing is under way on it. */
async function swap(device: SwitchDevice, next: ReaderDevice): Promise<void> {
  let before = device.target;
  await device.swap(async (present) => {
    before = present;
    return next;
  });
  await before.close();
}

function baseOf(deps: InstanceDeps, { block, pool_id }: Pick<InstanceRecord['disks'][number], 'block' | 'pool_id'>): BaseReader {
  return new BaseReader(block, pool_id, { pool: deps.pool });
}
