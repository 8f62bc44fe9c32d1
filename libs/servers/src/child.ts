/**
 * One process of ours. It writes to `dir`/logs/<name>.log, its pid stands in `dir`/run/<name>.pid while it lives, and
 * it dies with this process even when that is SIGKILLed (Linux: PR_SET_PDEATHSIG by setpriv; elsewhere the next start
 * under `dir` ends it by its pid file).
 *
 * `start`, `stop` and `restart` come one after the other, whoever calls them; `stop` may be called twice.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TransientError } from '@openservice/domain';
import { findBinary } from './paths.ts';
import { until } from './probe.ts';

export interface ChildSpec {
  name: string;
  /** The directory all state is under, absolute. */
  dir: string;
  command: string;
  args: string[];
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Asked every 30 ms until it says yes. */
  ready: () => Promise<boolean>;
  readyLimitMs?: number;
  stopSignal?: NodeJS.Signals;
  /** After so many milliseconds a stop turns into SIGKILL. */
  stopLimitMs?: number;
}

export interface ChildExit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

const KEPT_LOGS = 3;
const setpriv = findBinary('setpriv');

export class Child extends EventEmitter<{ started: [pid: number]; exit: [ChildExit & { expected: boolean }] }> {
  readonly spec: ChildSpec;
  readonly logFile: string;
  readonly #pidFile: string;
  #process: ChildProcess | undefined;
  #gone: Promise<ChildExit> = Promise.resolve({ code: 0, signal: null });
  #wanted = false;
  #rotated = false;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(spec: ChildSpec) {
    super();
    this.spec = spec;
    this.logFile = join(spec.dir, 'logs', `${spec.name}.log`);
    this.#pidFile = join(spec.dir, 'run', `${spec.name}.pid`);
  }

  get name(): string {
    return this.spec.name;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** False from the moment a stop was asked for: nobody may start it again. */
  get wanted(): boolean {
    return this.#wanted;
  }

  /** Resolves when it is ready. Throws TransientError `server_not_started` with the last lines of its log; nothing is left running then. */
  start(signal?: AbortSignal): Promise<void> {
    this.#wanted = true;
    return this.#inTurn(() => this.#start(signal));
  }

  stop(): Promise<void> {
    this.#wanted = false;
    return this.#inTurn(() => this.#stop());
  }

  /** Stops it the clean way where it still runs, and starts it with the same arguments. */
  restart(signal?: AbortSignal): Promise<void> {
    this.#wanted = true;
    return this.#inTurn(async () => {
      await this.#stop();
      await this.#start(signal);
    });
  }

  /** A fault, not a stop: whoever supervises it will see it die. */
  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#process?.kill(signal);
  }

  /** Resolves when the present process has gone. */
  gone(): Promise<ChildExit> {
    return this.#gone;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work, work);
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  async #start(signal?: AbortSignal): Promise<void> {
    if (this.#process !== undefined || !this.#wanted) return;
    this.#spawn();
    let died = false;
    void this.#gone.then(() => {
      died = true;
    });
    const limitMs = this.spec.readyLimitMs ?? 60_000;
    let ready = false;
    await until(
      async () => {
        if (died || !this.#wanted) return true;
        ready = await this.spec.ready();
        return ready;
      },
      { limitMs, everyMs: 30, signal },
    );
    if (ready && !died) return;
    await this.#stop();
    if (signal?.aborted === true || !this.#wanted) {
      throw new TransientError('server_not_started', `The start of ${this.name} was called off.`);
    }
    const how = died ? 'stopped while starting' : `was not ready within ${Math.round(limitMs / 1000)} s`;
    throw new TransientError('server_not_started', `${this.name} ${how}; see ${this.logFile}.${this.#lastLines()}`);
  }

  #spawn(): void {
    const { spec } = this;
    mkdirSync(join(spec.dir, 'run'), { recursive: true, mode: 0o700 });
    mkdirSync(join(spec.dir, 'logs'), { recursive: true, mode: 0o700 });
    if (!this.#rotated) rotate(this.logFile);
    this.#rotated = true;
    const log = openSync(this.logFile, 'a', 0o600);
    const [command, args] =
      setpriv !== undefined && process.platform === 'linux'
        ? [setpriv, ['--pdeathsig', 'KILL', '--', spec.command, ...spec.args]]
        : [spec.command, spec.args];
    const child = spawn(command, args, {
      cwd: spec.cwd ?? spec.dir,
      env: spec.env ?? process.env,
      stdio: ['ignore', log, log],
      // Ctrl-C in a terminal goes to the whole group: the order of the stop is ours to choose.
      detached: true,
    });
    closeSync(log);
    this.#process = child;
    this.#gone = new Promise((resolve) => {
      const end = (exit: ChildExit) => {
        if (this.#process !== child) return;
        this.#process = undefined;
        rmSync(this.#pidFile, { force: true });
        resolve(exit);
        this.emit('exit', { ...exit, expected: !this.#wanted });
      };
      child.once('exit', (code, signal) => end({ code, signal }));
      child.once('error', () => end({ code: 127, signal: null }));
    });
    if (child.pid !== undefined) {
      writeFileSync(this.#pidFile, `${child.pid}\n`, { mode: 0o600 });
      this.emit('started', child.pid);
    }
  }

  async #stop(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    child.kill(this.spec.stopSignal ?? 'SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), this.spec.stopLimitMs ?? 10_000);
    // A process that was paused for a test takes no other signal than these two.
    child.kill('SIGCONT');
    await this.#gone;
    clearTimeout(timer);
  }

  #lastLines(): string {
    try {
      const lines = readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-5);
      return lines.join('') === '' ? '' : `\n  ${lines.join('\n  ')}`;
    } catch {
      return '';
    }
  }
}

/** name.log becomes name.log.1, and so on; the oldest goes. */
function rotate(file: string): void {
  try {
    if (statSync(file).size === 0) return;
  } catch {
    return;
  }
  for (let age = KEPT_LOGS - 2; age >= 0; age -= 1) {
    const from = age === 0 ? file : `${file}.${age}`;
    try {
      renameSync(from, `${file}.${age + 1}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}
