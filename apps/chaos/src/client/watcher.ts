/** Follows GET /events through all of a run: cut off, or without a word for too long, it goes on at the other center behind the last event that it had. */
import { setTimeout as pause } from 'node:timers/promises';
import type { ApiClient } from '@openservice/testkit';

export interface SeenEvent {
  id: number;
  type: string;
  job_id: string | null;
}

/** A center says every 15 s that it is there. */
const SILENT_MS = 25_000;
const AGAIN_MS = 300;

export class Watcher {
  readonly seen: SeenEvent[] = [];
  /** How often it was connected. */
  connections = 0;
  readonly #centers: readonly ApiClient[];
  readonly #token: string;
  readonly #stop = new AbortController();
  readonly #first = Promise.withResolvers<void>();
  #last: string | null = null;
  #ended: Promise<void> = Promise.resolve();

  constructor(centers: readonly ApiClient[], token: string) {
    this.#centers = centers;
    this.#token = token;
  }

  /** Resolves when it follows: what happens from now on it is told. */
  start(): Promise<void> {
    this.#ended = this.#follow();
    return this.#first.promise;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  /** Until each of `jobs` was seen to end, or `limitMs` have passed. */
  async caughtUp(jobs: readonly string[], limitMs: number): Promise<void> {
    const end = performance.now() + limitMs;
    while (performance.now() < end) {
      const ended = new Set(
        this.seen.filter(({ type }) => /^job\.(succeeded|failed|cancelled)$/.test(type)).map((event) => event.job_id),
      );
      if (jobs.every((id) => ended.has(id))) return;
      await pause(250);
    }
  }

  async #follow(): Promise<void> {
    for (let turn = 0; !this.#stop.signal.aborted; turn++) {
      await this.#once(this.#centers[turn % this.#centers.length] as ApiClient).catch(() => undefined);
      await pause(AGAIN_MS);
    }
  }

  async #once(center: ApiClient): Promise<void> {
    const silent = new AbortController();
    const headers = {
      authorization: `Bearer ${this.#token}`,
      ...(this.#last === null ? {} : { 'last-event-id': this.#last }),
    };
    let timer = setTimeout(() => silent.abort(), SILENT_MS);
    try {
      const signal = AbortSignal.any([silent.signal, this.#stop.signal]);
      const answer = await fetch(`${center.url}/openstore_v1/events`, { headers, signal });
      if (answer.status !== 200 || answer.body === null) return;
      this.connections++;
      this.#first.resolve();
      let text = '';
      const decoder = new TextDecoder();
      for await (const part of answer.body) {
        clearTimeout(timer);
        timer = setTimeout(() => silent.abort(), SILENT_MS);
        text += decoder.decode(part, { stream: true });
        const messages = text.split('\n\n');
        text = messages.pop() ?? '';
        for (const message of messages) this.#take(message);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #take(message: string): void {
    const field = (name: string): string | undefined =>
      message
        .split('\n')
        .find((line) => line.startsWith(`${name}:`))
        ?.slice(name.length + 1)
        .trim();
    const [id, data] = [field('id'), field('data')];
    if (id !== undefined && id !== '') this.#last = id;
    if (data === undefined) return;
    const { job_id = null } = JSON.parse(data) as { job_id?: string | null };
    this.seen.push({ id: Number(id), type: field('event') ?? '', job_id });
  }
}
