/** A process of the bench's own beside the stack: it says when it is ready, answers questions one by one, and ends when it is told to. */
import { type ChildProcess, fork } from 'node:child_process';
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PermanentError } from '@openservice/domain';
import type { Lab } from '../lab.ts';

const STOP_LIMIT_MS = 15_000;

/** What a process says: once it is ready, and as the answer to a question. */
export type Said = { ready: true } | { answer: unknown } | { problem: string };

export class BenchChild {
  readonly #process: ChildProcess;
  readonly #name: string;
  readonly #log: string;
  #waiting: { resolve(said: unknown): void; reject(error: Error): void } | null = null;

  private constructor(name: string, log: string, child: ChildProcess) {
    this.#name = name;
    this.#log = log;
    this.#process = child;
    child.on('message', (said: Said) => {
      const waiting = this.#waiting;
      this.#waiting = null;
      if ('problem' in said) waiting?.reject(new PermanentError('bench_process', `${name}: ${said.problem}`));
      else waiting?.resolve('answer' in said ? said.answer : undefined);
    });
    child.once('exit', (code, signal) => {
      const why = `${name} ended (${signal ?? code}); its last words are in ${log}.`;
      this.#waiting?.reject(new PermanentError('bench_process', why));
      this.#waiting = null;
    });
  }

  /** `file`: beside this one. Resolves when it is ready. Its output is in the stack's directory of logs. */
  static async start(lab: Lab, file: string, name: string, env: Record<string, string>): Promise<BenchChild> {
    const log = join(lab.dir, 'stack', 'logs', `${name}.log`);
    const output = openSync(log, 'a');
    const { stack } = lab.stack;
    const process_ = fork(fileURLToPath(new URL(file, import.meta.url)), [], {
      execPath: process.execPath,
      stdio: ['ignore', output, output, 'ipc'],
      env: { ...process.env, BENCH_NATS: stack.nats.url, BENCH_REDIS: stack.redis.url, ...env },
    });
    const child = new BenchChild(name, log, process_);
    try {
      await child.#next();
    } catch (error) {
      await child.stop();
      throw error;
    }
    return child;
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** One question at a time. PermanentError `bench_process` with what went wrong there. */
  async ask<T>(question: unknown): Promise<T> {
    const answer = this.#next();
    this.#process.send(question as object);
    return (await answer) as T;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => this.#process.once('exit', () => resolve()));
    this.#process.kill('SIGTERM');
    const hard = setTimeout(() => this.#process.kill('SIGKILL'), STOP_LIMIT_MS);
    await ended;
    clearTimeout(hard);
  }

  #next(): Promise<unknown> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) {
      return Promise.reject(new PermanentError('bench_process', `${this.#name} has ended; see ${this.#log}.`));
    }
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }
}

/** The other end: answers questions with `answer` until the process is told to stop, then calls `stop`. */
export function serveBench(answer: (question: never) => Promise<unknown>, stop: () => Promise<void>): void {
  const say = (said: Said): void => void process.send?.(said);
  process.on('message', (question) => {
    answer(question as never).then(
      (value) => say({ answer: value ?? null }),
      (error: unknown) => say({ problem: String(error) }),
    );
  });
  const end = (): void => {
    stop().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`${String(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', end);
  // The bench is gone: nothing of it may outlive it.
  process.once('disconnect', end);
  say({ ready: true });
}
