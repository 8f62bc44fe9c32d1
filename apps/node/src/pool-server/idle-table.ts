/** Things that clients have open on the server, by key: closed when nobody has used them for a while, when they are dropped, and at the end. */
import { TransientError } from '@openservice/domain';

interface Entry<T> {
  value: T;
  /** On performance.now()'s clock. */
  usedAt: number;
  uses: number;
  /** Called when the last use ends. */
  idle: (() => void)[];
}

export interface IdleTableOptions<T> {
  idleMs: number;
  max: number;
  /** Make room by closing what was used longest ago; else a full table refuses. */
  evict: boolean;
  close: (value: T) => Promise<void>;
  /** A close that failed: the thing is gone all the same. */
  onError: (error: unknown) => void;
}

export class IdleTable<T> {
  readonly #options: IdleTableOptions<T>;
  readonly #entries = new Map<string, Entry<T>>();
  readonly #closing = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | null = null;

  constructor(options: IdleTableOptions<T>) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Takes the place of what has the key. TransientError `server_busy`, and `value` is closed, when the table is full of things in use. */
  async add(key: string, value: T): Promise<void> {
    void this.drop(key);
    if (this.#entries.size >= this.#options.max && !(this.#options.evict && this.#dropOldest())) {
      await this.#options.close(value);
      throw new TransientError('server_busy', 'The pool server has too many transfers open; it is tried again.');
    }
    const entry = { value, usedAt: performance.now(), uses: 0, idle: [] };
    this.#entries.set(key, entry);
    this.#timer ??= setInterval(() => this.#sweep(), Math.max(50, this.#options.idleMs / 4)).unref();
  }

  /** Runs `work` with the thing, which is not closed meanwhile; null where there is none of that key. */
  async use<R>(key: string, work: (value: T) => Promise<R>): Promise<R | null> {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    entry.uses++;
    try {
      return await work(entry.value);
    } finally {
      entry.uses--;
      entry.usedAt = performance.now();
      if (entry.uses === 0) for (const wake of entry.idle.splice(0)) wake();
    }
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Nobody finds it any more; it is closed when those who use it have ended, and then this resolves. */
  async drop(key: string): Promise<void> {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    const closed = (async () => {
      if (entry.uses > 0) await new Promise<void>((wake) => entry.idle.push(wake));
      await this.#options.close(entry.value);
    })().catch(this.#options.onError);
    this.#closing.add(closed);
    await closed.finally(() => this.#closing.delete(closed));
  }

  async dropWhere(matches: (value: T) => boolean): Promise<void> {
    const keys = [...this.#entries].filter(([, { value }]) => matches(value)).map(([key]) => key);
    await Promise.all(keys.map((key) => this.drop(key)));
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    await this.dropWhere(() => true);
    await Promise.all(this.#closing);
  }

  #sweep(): void {
    const before = performance.now() - this.#options.idleMs;
    for (const [key, entry] of this.#entries) if (entry.uses === 0 && entry.usedAt < before) void this.drop(key);
  }

  /** The one that was used longest ago, of those that nobody uses and that may be had again. */
  #dropOldest(): boolean {
    let oldest: string | null = null;
    for (const [key, entry] of this.#entries) {
      if (entry.uses > 0) continue;
      if (oldest === null || entry.usedAt < this.#entries.get(oldest)!.usedAt) oldest = key;
    }
    if (oldest === null) return false;
    void this.drop(oldest);
    return true;
  }
}
