/** Centers and nodes as the harness runs them: killed, stopped and started at its word. One that ends by itself is written down, and started again. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child } from '@openservice/servers';

const MAIN = {
  center: fileURLToPath(new URL('../../../center/src/main.ts', import.meta.url)),
  node: fileURLToPath(new URL('../../../node/src/main.ts', import.meta.url)),
};
const CLOCK = new URL('./stepped-clock.ts', import.meta.url).href;
const AGAIN_MS = 500;

export interface OwnEnd {
  name: string;
  how: string;
  /** ms since the run's start. */
  at: number;
}

export class Program {
  readonly name: string;
  readonly child: Child;
  readonly dataDir: string;
  readonly #clock: string;
  /** It is dead, or will be, at the harness's word. */
  #doomed = false;
  #stopped = false;

  constructor(options: {
    kind: keyof typeof MAIN;
    name: string;
    dir: string;
    dataDir: string;
    env: Record<string, string>;
    onOwnEnd: (end: Omit<OwnEnd, 'at'>) => void;
  }) {
    const { kind, name, dir, dataDir, env } = options;
    this.name = name;
    this.dataDir = dataDir;
    mkdirSync(join(dir, 'run'), { recursive: true });
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    this.#clock = join(dir, 'run', `${name}.clock`);
    writeFileSync(this.#clock, '0');
    this.child = new Child({
      name,
      dir,
      command: process.execPath,
      args: ['--import', CLOCK, MAIN[kind]],
      cwd: dataDir,
      env: {
        ...process.env,
        UV_THREADPOOL_SIZE: '8',
        OPENSERVICE_LOG_LEVEL: 'info',
        ...env,
        OPENSERVICE_DATA_DIR: dataDir,
        OPENSERVICE_CHAOS_CLOCK: this.#clock,
      },
      // Whether it serves is asked through the API: with its links broken it need not, and is to go on trying.
      ready: async () => true,
      stopLimitMs: 20_000,
    });
    this.child.on('exit', ({ code, signal }) => {
      if (this.#doomed || this.#stopped) return;
      options.onOwnEnd({ name, how: signal ?? `exit ${code}` });
      setTimeout(() => {
        if (!this.#doomed && !this.#stopped) void this.child.start().catch(() => undefined);
      }, AGAIN_MS);
    });
  }

  start(): Promise<void> {
    this.#doomed = false;
    this.#stopped = false;
    return this.child.start();
  }

  /** Until `start`. */
  async kill(): Promise<void> {
    this.#doomed = true;
    this.child.kill('SIGKILL');
    await this.child.gone();
  }

  freeze(): void {
    this.child.kill('SIGSTOP');
  }

  thaw(): void {
    this.child.kill('SIGCONT');
  }

  stepClock(ms: number): void {
    writeFileSync(this.#clock, String(ms));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.child.stop();
  }
}
