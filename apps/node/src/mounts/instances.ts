/**
 * The instances of a node, and the NBD server that serves them. What is loaded is on the disk before the job that loads it ends, so a node that
 * starts again serves all of them again, with what was written.
 */
import { PermanentError, toFailure } from '@openservice/domain';
import { type NbdExport, NbdServer, type NbdServerOptions, UnitCache } from '@openservice/nbd';
import type { Pool } from '@openservice/pools';
import type { InstanceReport } from '@openservice/protocol';
import type { Logger, Part } from '@openservice/runtime';
import { Instance, type InstanceDeps } from './instance.ts';
import { InstanceFiles, type InstanceRecord } from './instance-file.ts';

/** A frame of a stored chunk: what a small read fetches. */
const UNIT_BYTES = 128 * 1024;

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
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: InstancesOptions) {
    this.#options = options;
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

  /** Serves it; there already: nothing. All disks can be read, and it is remembered, once this resolves. */
  load(record: InstanceRecord): Promise<void> {
    return this.#inTurn(record.instance_id, async () => {
      if (this.#open.has(record.instance_id)) return;
      const instance = await Instance.open(this.#deps, record);
      try {
        await instance.prove();
        this.#refuseTaken(instance);
        await this.#deps.files.write(record);
      } catch (error) {
        await instance.close();
        await this.#deps.files.remove(record.instance_id);
        throw error;
      }
      this.#serve(instance);
    });
  }

  /** Clients are disconnected; what was written is gone. Not there: nothing. */
  unload(instanceId: string): Promise<void> {
    return this.#inTurn(instanceId, async () => {
      const instance = this.#open.get(instanceId);
      if (instance !== undefined) {
        await this.#withdraw(instance);
        this.#open.delete(instanceId);
        await instance.close().catch((error: unknown) => {
          this.#options.log.warn(
            { err: error, instance_id: instanceId },
            'Writes of an instance that goes could not be flushed.',
          );
        });
      }
      this.#broken.delete(instanceId);
      await this.#deps.files.remove(instanceId);
    });
  }

  /** The disks are their blocks again. PermanentError `instance_not_found`, `instance_read_only`. */
  rewind(instanceId: string): Promise<void> {
    return this.#inTurn(instanceId, async () => {
      const instance = this.get(instanceId);
      await this.#withdraw(instance);
      try {
        await instance.rewind();
      } finally {
        this.#serve(instance);
      }
    });
  }

  /** Clients are disconnected and find no export until `work` has ended. */
  quietly<T>(instanceId: string, work: (instance: Instance) => Promise<T>): Promise<T> {
    return this.#inTurn(instanceId, async () => {
      const instance = this.get(instanceId);
      await this.#withdraw(instance);
      try {
        return await work(instance);
      } finally {
        this.#serve(instance);
      }
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

  async report(instanceId: string): Promise<InstanceReport> {
    return this.get(instanceId).report(this.#options.socket);
  }

  /** Those that cannot be opened too. */
  async reports(): Promise<InstanceReport[]> {
    const open = await Promise.all([...this.#open.values()].map((instance) => instance.report(this.#options.socket)));
    const broken = [...this.#broken].map(([instance_id, message]) => ({
      instance_id,
      state: 'error' as const,
      message,
      disks: [],
    }));
    return [...open, ...broken];
  }

  async #start(): Promise<void> {
    for (const id of await this.#deps.files.list()) {
      try {
        const instance = await Instance.open(this.#deps, await this.#deps.files.read(id));
        this.#serve(instance);
        // Its pools may be away for now; reads wait for them.
        void instance.prove().catch((error: unknown) => {
          this.#options.log.warn(
            { instance_id: id, err: error },
            'The base of an instance cannot be reached; its reads will try again.',
          );
        });
      } catch (error) {
        const { message } = toFailure(error);
        this.#broken.set(id, message);
        this.#options.log.error({ instance_id: id, err: error }, 'An instance cannot be served; its files stay as they are.');
      }
    }
    await this.#server.start();
  }

  async #stop(): Promise<void> {
    await this.#server.stop();
    const outcomes = await Promise.allSettled([...this.#open.values()].map((instance) => instance.close()));
    this.#open.clear();
    this.#exports.clear();
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') this.#options.log.error({ err: outcome.reason }, 'An instance could not be flushed.');
    }
  }

  #serve(instance: Instance): void {
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

  #refuseTaken(instance: Instance): void {
    const taken = instance.disks.flatMap(({ names }) => names).find((name) => this.#exports.has(name));
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
