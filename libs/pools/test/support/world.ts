/**
 * One store that several nodes use, and a scheduler that decides which call reaches it next: every call waits until it is picked, so that each
 * call is a place where others come in between. What a crashed node had under way may still reach the store, at any later time.
 */
import { type Backend, ObjectNotFoundError } from '../../src/backend.ts';
import type { Random } from './random.ts';

interface Call {
  machine: Machine;
  /** What the store does: answers what the caller gets. */
  step: () => unknown;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

/** A node's process: its calls, until it crashes. */
export class Machine {
  readonly number: number;
  /** Resolves when it crashes. */
  readonly crashed: Promise<'crashed'>;
  alive = true;
  /** How often its calls are picked, relative to others. */
  pace = 1;
  #crash: (value: 'crashed') => void = () => {};

  constructor(number: number) {
    this.number = number;
    this.crashed = new Promise((resolve) => {
      this.#crash = resolve;
    });
  }

  crash(): void {
    this.alive = false;
    this.#crash('crashed');
  }
}

export interface WorldHooks {
  /** After an object went. */
  onRemoved(key: string): void;
  /** After an object was written. */
  onWritten(key: string): void;
}

export class World {
  readonly objects = new Map<string, Buffer>();
  readonly #random: Random;
  readonly #pageSize: number;
  readonly #hooks: WorldHooks;
  #calls: Call[] = [];
  /** Calls of crashed nodes that are still on the wire. */
  #lost: Call[] = [];
  #timers: { at: number; fire: () => void }[] = [];
  picks = 0;
  /** No more scheduling: calls are done as they come. */
  direct = false;

  constructor(random: Random, pageSize: number, hooks: WorldHooks) {
    this.#random = random;
    this.#pageSize = pageSize;
    this.#hooks = hooks;
  }

  /** Resolves after `count` more calls of anybody, or when nothing else is left to do. */
  after(count: number): Promise<void> {
    return new Promise((fire) => this.#timers.push({ at: this.picks + count, fire }));
  }

  /** Resolves when the scheduler picks it, like a call. */
  turn(machine: Machine): Promise<void> {
    return this.#call(machine, () => undefined);
  }

  crash(machine: Machine): void {
    const mine = (call: Call): boolean => call.machine === machine;
    this.#lost.push(...this.#calls.filter(mine));
    this.#calls = this.#calls.filter((call) => !mine(call));
    machine.crash();
  }

  /** Until nothing is under way any more. */
  async run(): Promise<void> {
    for (;;) {
      // All that follows from the last answer, up to the next calls.
      await new Promise((resolve) => setImmediate(resolve));
      const due = this.#timers.filter(({ at }) => at <= this.picks);
      if (due.length > 0) {
        this.#timers = this.#timers.filter(({ at }) => at > this.picks);
        for (const { fire } of due) fire();
      } else if (this.#calls.length > 0) {
        this.picks++;
        if (this.#lost.length > 0 && this.#random() < 0.1) this.#land();
        else this.#pick();
      } else if (this.#timers.length > 0) {
        this.#timers.sort((a, b) => a.at - b.at);
        this.picks = this.#timers[0]!.at;
      } else if (this.#lost.length > 0) this.#land();
      else return;
    }
  }

  backend(machine: Machine): Backend {
    const call = <T>(step: () => T): Promise<T> => this.#call(machine, step);
    const { objects } = this;
    const store = (key: string, bytes: Buffer): void => {
      objects.set(key, bytes);
      this.#hooks.onWritten(key);
    };
    const pages = (prefix: string): AsyncIterable<{ key: string; size: number }> => this.#list(prefix, machine);
    return {
      name: 'the world',
      fencing: 'strict',
      bytesSent: 0,
      put(key, parts) {
        const bytes = Buffer.concat(parts instanceof Uint8Array ? [parts] : [...parts]);
        return call(() => store(key, bytes));
      },
      putIfAbsent(key, part) {
        const bytes = Buffer.from(part);
        return call(() => {
          if (objects.has(key)) return false;
          store(key, bytes);
          return true;
        });
      },
      get: (key, range) =>
        call(() => {
          const bytes = objects.get(key);
          if (bytes === undefined) throw new ObjectNotFoundError(key, 'the world');
          return Buffer.from(range === null ? bytes : bytes.subarray(range.offset, range.offset + range.length));
        }),
      head: (key) => call(() => objects.get(key)?.length ?? null),
      list: pages,
      remove: (key) =>
        call(() => {
          if (objects.delete(key)) this.#hooks.onRemoved(key);
        }),
      capacity: async () => null,
      close: async () => {},
    };
  }

  async *#list(prefix: string, machine: Machine): AsyncIterable<{ key: string; size: number }> {
    let last = '';
    for (;;) {
      const page = await this.#call(machine, () =>
        [...this.objects]
          .filter(([key]) => key.startsWith(prefix) && key > last)
          .map(([key, { length }]) => ({ key, size: length }))
          .sort((a, b) => (a.key < b.key ? -1 : 1))
          .slice(0, this.#pageSize),
      );
      yield* page;
      if (page.length < this.#pageSize) return;
      last = page.at(-1)!.key;
    }
  }

  #call<T>(machine: Machine, step: () => T): Promise<T> {
    // A process that is gone asks for nothing any more, and hears of nothing.
    if (!machine.alive) return new Promise(() => {});
    if (this.direct) return new Promise((resolve) => resolve(step()));
    return new Promise<T>((resolve, reject) => {
      this.#calls.push({ machine, step, resolve: resolve as (value: unknown) => void, reject });
    });
  }

  #pick(): void {
    const sum = this.#calls.reduce((total, { machine }) => total + machine.pace, 0);
    let left = this.#random() * sum;
    const index = this.#calls.findIndex(({ machine }) => {
      left -= machine.pace;
      return left < 0;
    });
    const [call] = this.#calls.splice(index, 1);
    let answer: unknown;
    try {
      answer = call!.step();
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error;
      call!.reject(error);
      return;
    }
    call!.resolve(answer);
  }

  /** Half of them never arrive. */
  #land(): void {
    const [call] = this.#lost.splice(Math.floor(this.#random() * this.#lost.length), 1);
    if (this.#random() < 0.5) return;
    try {
      call!.step();
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error;
    }
  }
}
