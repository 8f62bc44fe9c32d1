/** One instance: its disks, each a base and, unless it is read-only, what was written over it. */
import { PermanentError, toFailure } from '@openservice/domain';
import {
  type BlockDevice,
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
}

export class Instance {
  readonly disks: LiveDisk[];
  readonly #deps: InstanceDeps;
  #record: InstanceRecord;
  /** Why the base could not be reached when it was last tried; null: it could, or was not tried. */
  #trouble: string | null = null;

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
  async prove(): Promise<void> {
    try {
      await Promise.all(this.disks.map(({ base }) => base.prove()));
      this.#trouble = null;
    } catch (error) {
      this.#trouble = toFailure(error).message;
      throw error;
    }
  }

  /** Holds the disk still. PermanentError `instance_read_only`. */
  freeze(index: number): Promise<FrozenDisk> {
    return this.#writable(index).freeze();
  }

  /** Nobody may be connected. */
  async rewind(): Promise<void> {
    for (const { index } of this.disks) await this.#writable(index).rewind();
  }

  /** The disk's base is read from another pool, now and after a restart. */
  async rebase(index: number, poolId: string): Promise<void> {
    const disk = this.disk(index);
    const known = this.#record.disks.find((one) => one.index === index)!;
    if (known.pool_id === poolId) return;
    const base = baseOf(this.#deps, { block: known.block, pool_id: poolId });
    await base.prove();
    const next = new ReaderDevice({ reader: base, cache: this.#deps.cache });
    const record = {
      ...this.#record,
      disks: this.#record.disks.map((one) => (one.index === index ? { ...one, pool_id: poolId } : one)),
    };
    await this.#deps.files.write(record);
    this.#record = record;
    if (disk.layers !== null) await disk.layers.swapBase(next);
    else
      await (disk.exported.device as SwitchDevice).swap(async (before) => {
        await before.close();
        return next;
      });
    disk.base = base;
  }

  async report(socket: string): Promise<InstanceReport> {
    const disks = await Promise.all(
      this.disks.map(async ({ index, exported, names, layers }) => {
        const { block, pool_id } = this.#record.disks.find((one) => one.index === index)!;
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
    return { instance_id: this.id, state: this.#trouble === null ? 'loaded' : 'error', message: this.#trouble, disks };
  }

  async close(): Promise<void> {
    const outcomes = await Promise.allSettled(this.disks.map(({ exported }) => exported.device.close()));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
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
  const device: BlockDevice = layers ?? new SwitchDevice(read);
  const tail = record.disks.length === 1 ? '' : `/${disk.index}`;
  const names = [`${record.instance_id}${tail}`, `${record.name}${tail}`];
  const description = `${record.name}, disk ${disk.index}: block ${disk.block.id}`;
  return { index: disk.index, base, layers, names, exported: { name: names[0]!, description, device, counters: newCounters() } };
}

function baseOf(deps: InstanceDeps, { block, pool_id }: Pick<InstanceRecord['disks'][number], 'block' | 'pool_id'>): BaseReader {
  return new BaseReader(block, pool_id, (signal) => deps.pool(pool_id, signal));
}
