/**
 * The instances of a node, and the NBD server that serves them. What is loaded is on the disk before the job that loads it ends, so a node that
 * starts again serves all of them again, with what was written.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { PermanentError, toFailure } from '@openservice/domain';
import { type NbdExport, NbdServer, type NbdServerOptions, UnitCache } from '@openservice/nbd';
import type { Pool } from '@openservice/pools';
import type { InstanceReport } from '@openservice/protocol';
import type { Logger, Part } from '@openservice/runtime';
import { Instance, type InstanceDeps } from './instance.ts';
import { InstanceFiles, type InstanceRecord } from './instance-file.ts';

/** A frame of a stored chunk: what a small read fetches. */
const UNIT_BYTES = 64 * 1024;
/** All disks of a node are told of in one message at each sync. */
const MOST_DISKS = 1000;
const JOBS_BACK_MS = 120_000;
/** ms between tries to open an instance whose files cannot be read. */
const RETRY_MS = 15_000;

export interface InstancesOptions {
  /** Holds the records and the writes. */
  directory: string;
  /** Path of the Unix socket. */
  socket: string;
  tcp: { host: string; port: number };
  tls?: NonNullable<NbdServerOptions['tls']>;
  /** The name that clients reach TCP by. */
  advertise: string;
  /** Bytes that blocks being read may take in memory, over all instances. */
  cacheBytes: number;
  pool: (poolId: string, signal: AbortSignal) => Promise<Pool>;
  /** ms after the start in which jobs of before have gone on; default two minutes. */
  jobsBackMs?: number;
  log: Logger;
}

export class Instances {
  readonly part: Part;
  readonly #options: InstancesOptions;
  readonly #deps: InstanceDeps;
  readonly #server: NbdServer;
  readonly #open = new Map<string, Instance>();
  readonly #exports = new Map<string, NbdExport>();
  /** Records that cannot be opened, and why. */
  readonly #broken = new Map<string, string>();
  /** Those that a job of this process has for itself. */
  readonly #holding = new Set<string>();
  /** On performance.now()'s clock: until then a job of before the start may not have gone on yet. */
  readonly #jobsAreBack: number;
  readonly #stopping = new AbortController();
  #trying: Promise<void> | null = null;
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: InstancesOptions) {
    this.#options = options;
    this.#jobsAreBack = performance.now() + (options.jobsBackMs ?? JOBS_BACK_MS);
    this.#deps = {
      files: new InstanceFiles(options.directory),
      cache: new UnitCache({ unitBytes: UNIT_BYTES, maxBytes: options.cacheBytes }),
      pool: options.pool,
    };
    this.#server = new NbdServer({
      exports: { find: (name) => this.#exports.get(name) ?? null, list: () => this.#listed() },
      socket: options.socket,
      tcp: options.tcp,
      ...(options.tls === undefined ? {} : { tls: options.tls }),
    });
    this.part = { name: 'nbd server', start: () => this.#start(), stop: () => this.#stop() };
  }

  /** `nbd(s)://host:port` once it listens. */
  get endpoint(): string | null {
    const { port } = this.#server;
    const { advertise, tls } = this.#options;
    if (port === null) return null;
    return `${tls?.mode === 'required' ? 'nbds' : 'nbd'}://${advertise.includes(':') ? `[${advertise}]` : advertise}:${port}`;
  }

  /**
   * Serves it. There already: nothing but that the run is noted, also where it cannot be opened: what was written to it is not touched, and its
   * report says why. All disks can be read, and it is remembered, once this resolves. PermanentError `name_taken`, `too_many_disks`.
   */
  load(wanted: Omit<InstanceRecord, 'v' | 'held'>, signal: AbortSignal): Promise<void> {
    const { instance_id, loaded_by } = wanted;
    return this.#inTurn(instance_id, async () => {
      if (this.#broken.has(instance_id)) return;
      const there = this.#open.get(instance_id);
      if (there !== undefined) {
        if (there.record.loaded_by.fence < loaded_by.fence) await there.note({ loaded_by });
        return;
      }
      this.#refuseMany(wanted.disks.length);
      const instance = await Instance.open(this.#deps, { ...wanted, v: 1, held: null });
      try {
        await instance.prove(signal);
        this.#refuseTaken(instance);
        await instance.note({});
      } catch (error) {
        await instance.close();
        await this.#deps.files.remove(instance_id);
        throw error;
      }
      this.#serve(instance);
    });
  }

  /** What the run of a load left: gone. One that another job, or a later run, has loaded stays. */
  undoLoad(instanceId: string, by: InstanceRecord['loaded_by']): Promise<void> {
    return this.#inTurn(instanceId, async () => {
      const loaded = this.#open.get(instanceId)?.record.loaded_by;
      if (this.#broken.has(instanceId)) return;
      if (loaded !== undefined && (loaded.job_id !== by.job_id || loaded.fence > by.fence)) return;
      await this.#remove(instanceId);
    });
  }

  /** Clients are disconnected; what was written is gone. Not there: nothing. */
  unload(instanceId: string): Promise<void> {
    return this.#inTurn(instanceId, () => this.#remove(instanceId));
  }

  /**
   * Clients are disconnected, and find no export, also after a restart of the node, until the job lets the instance go. Taken again by the same
   * job: nothing can have been written in between, and the moment is the same. PermanentError `instance_not_found`.
   */
  hold(instanceId: string, jobId: string): Promise<{ instance: Instance; moment: string }> {
    return this.#inTurn(instanceId, async () => {
      const instance = this.get(instanceId);
      const { held } = instance.record;
      this.#holding.add(instanceId);
      await this.#withdraw(instance);
      if (held?.job_id === jobId) return { instance, moment: held.moment };
      const moment = randomUUID();
      await instance.note({ held: { job_id: jobId, moment } });
      return { instance, moment };
    });
  }

  /** Served again. Not there, or held by another job: nothing. */
  letGo(instanceId: string, jobId: string): Promise<void> {
    return this.#inTurn(instanceId, async () => {
      const instance = this.#open.get(instanceId);
      const held = instance?.record.held;
      if (instance === undefined || (held && held.job_id !== jobId)) return;
      if (held) await instance.note({ held: null });
      this.#serve(instance);
    });
  }

  /** PermanentError `instance_not_found`. */
  get(instanceId: string): Instance {
    const found = this.#open.get(instanceId);
    if (found !== undefined) return found;
    const why = this.#broken.get(instanceId);
    throw new PermanentError(
      'instance_not_found',
      why === undefined ? `This node has no instance ${instanceId}.` : `Instance ${instanceId} cannot be opened: ${why}`,
    );
  }

  /** PermanentError `instance_not_found`. */
  async report(instanceId: string): Promise<InstanceReport> {
    const why = this.#broken.get(instanceId);
    if (why !== undefined) return brokenReport(instanceId, why);
    return (await this.#reportOf(this.get(instanceId))) ?? this.get(instanceId).report(this.#options.socket);
  }

  /** Clients find its disks. */
  isServed(instanceId: string): boolean {
    return this.#open.get(instanceId)?.disks.every(({ exported }) => this.#exports.has(exported.name)) ?? false;
  }

  /** Those that cannot be opened too. */
  async reports(): Promise<InstanceReport[]> {
    const open = await Promise.all([...this.#open.values()].map((instance) => this.#reportOf(instance)));
    const broken = [...this.#broken].map(([id, message]) => brokenReport(id, message));
    return [...open.filter((report) => report !== null), ...broken];
  }

  /** Null: it went just now. */
  async #reportOf(instance: Instance): Promise<InstanceReport | null> {
    try {
      const report = await instance.report(this.#options.socket);
      const { held } = instance.record;
      if (held === null || this.#holding.has(instance.id) || performance.now() < this.#jobsAreBack) return report;
      const message =
        `Clients cannot connect: job ${held.job_id} has it for itself and has not come to its end since the node was started. ` +
        'Wait for that job; where it is over, remove the instance (DELETE; with save=true what was written becomes a block).';
      return { ...report, state: 'error', message };
    } catch (error) {
      return this.#open.has(instance.id) ? brokenReport(instance.id, toFailure(error).message) : null;
    }
  }

  async #start(): Promise<void> {
    for (const id of await this.#deps.files.list()) await this.#reopen(id);
    await this.#server.start();
    this.#trying = this.#tryBroken();
  }

  async #reopen(id: string): Promise<void> {
    try {
      const instance = await Instance.open(this.#deps, await this.#deps.files.read(id));
      this.#broken.delete(id);
      if (instance.record.held === null) this.#serve(instance);
      else this.#open.set(id, instance);
      // Its pools may be away for now; reads wait for them.
      instance.seek();
    } catch (error) {
      const { message } = toFailure(error);
      if (this.#broken.get(id) !== message)
        this.#options.log.error({ instance_id: id, err: error }, 'An instance cannot be served; its files stay as they are.');
      this.#broken.set(id, message);
    }
  }

  /** Room may be made, or a filesystem mounted. */
  async #tryBroken(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await pause(RETRY_MS, undefined, { signal }).catch(() => undefined);
      for (const id of [...this.#broken.keys()]) {
        await this.#inTurn(id, async () => {
          if (!signal.aborted && this.#broken.has(id)) await this.#reopen(id);
        });
      }
    }
  }

  async #stop(): Promise<void> {
    this.#stopping.abort();
    await this.#server.stop();
    await this.#trying;
    const outcomes = await Promise.allSettled([...this.#open.values()].map((instance) => instance.close()));
    this.#open.clear();
    this.#exports.clear();
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') this.#options.log.error({ err: outcome.reason }, 'An instance could not be flushed.');
    }
  }

  async #remove(instanceId: string): Promise<void> {
    const instance = this.#open.get(instanceId);
    if (instance !== undefined) {
      await this.#withdraw(instance);
      this.#open.delete(instanceId);
      await instance.close().catch((error: unknown) => {
        this.#options.log.warn({ err: error, instance_id: instanceId }, 'Writes of an instance that goes could not be flushed.');
      });
    }
    this.#broken.delete(instanceId);
    this.#holding.delete(instanceId);
    await this.#deps.files.remove(instanceId);
  }

  #serve(instance: Instance): void {
    this.#holding.delete(instance.id);
    this.#open.set(instance.id, instance);
    for (const { names, exported } of instance.disks) for (const name of names) this.#exports.set(name, exported);
  }

  async #withdraw(instance: Instance): Promise<void> {
    for (const { names } of instance.disks) for (const name of names) this.#exports.delete(name);
    await Promise.all(instance.disks.map(({ exported }) => this.#server.disconnect(exported)));
  }

  *#listed(): Generator<NbdExport> {
    for (const instance of this.#open.values())
      for (const { exported } of instance.disks) if (this.#exports.has(exported.name)) yield exported;
  }

  #refuseMany(more: number): void {
    const there = [...this.#open.values()].reduce((sum, { disks }) => sum + disks.length, 0);
    if (there + more <= MOST_DISKS) return;
    throw new PermanentError(
      'too_many_disks',
      `This node serves ${there} disks, and ${MOST_DISKS} at most; remove instances that are not needed, or use another node.`,
    );
  }

  /** Also a name of one that is held, and comes back. */
  #refuseTaken(instance: Instance): void {
    const names = new Set([...this.#open.values()].flatMap(({ disks }) => disks.flatMap((disk) => disk.names)));
    const taken = instance.disks.flatMap((disk) => disk.names).find((name) => names.has(name));
    if (taken === undefined) return;
    throw new PermanentError(
      'name_taken',
      `This node serves another disk as ${JSON.stringify(taken)} already; choose another name.`,
    );
  }

  async #inTurn<T>(instanceId: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(instanceId) ?? Promise.resolve();
    const run = before.then(work, work);
    const done = run.catch(() => undefined);
    this.#turns.set(instanceId, done);
    try {
      return await run;
    } finally {
      if (this.#turns.get(instanceId) === done) this.#turns.delete(instanceId);
    }
  }
}

function brokenReport(instanceId: string, message: string): InstanceReport {
  return { instance_id: instanceId, state: 'error', message, disks: [] };
}
