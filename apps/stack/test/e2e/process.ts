/** One of our processes under test: started, killed and started again at the test's word, never by itself. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { findBinary } from '@openservice/servers';

const setpriv = findBinary('setpriv');

export class TestProcess {
  readonly name: string;
  readonly #entry: string;
  readonly #env: Record<string, string>;
  readonly #log: string;
  #child: ChildProcess | null = null;
  #ended: Promise<string> = Promise.resolve('never started');
  /** Unix ms; a node's epoch is not less. */
  startedAt = 0;

  constructor(name: string, entry: string, env: Record<string, string>, log: string) {
    this.name = name;
    this.#entry = entry;
    this.#env = env;
    this.#log = log;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.name} is not running`);
    return pid;
  }

  start(extra: Record<string, string> = {}): void {
    if (this.#child !== null) throw new Error(`${this.name} runs already`);
    this.startedAt = Date.now();
    // Dies with the test's process, however that ends.
    const [command, ...before] =
      setpriv === undefined ? [process.execPath] : [setpriv, '--pdeathsig', 'KILL', '--', process.execPath];
    const child = spawn(command, [...before, this.#entry], {
      env: { ...process.env, ...this.#env, ...extra },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const log = createWriteStream(this.#log, { flags: 'a' });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    this.#child = child;
    this.#ended = once(child, 'exit').then(([code, signal]) => {
      if (this.#child === child) this.#child = null;
      log.end();
      return String(signal ?? `exit ${code}`);
    });
  }

  /** Resolves with the signal's name, or `exit <code>`. */
  get ended(): Promise<string> {
    return this.#ended;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.#child === null) return;
    this.#child.kill(signal);
    await this.#ended;
  }

  async restart(extra: Record<string, string> = {}): Promise<void> {
    await this.kill();
    this.start(extra);
  }
}
