/**
 * Asks the API of any center until there is an answer, always with the same Idempotency-Key: an answer that was lost is asked for again.
 * What is not answered in time stays open in the model, and is asked again later.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Answer, ApiClient } from '@openservice/testkit';
import type { About, Answered, Asked, Entry, History } from '../model/history.ts';
import type { Model } from '../model/model.ts';

export interface Request {
  kind: string;
  method: 'PUT' | 'POST' | 'DELETE';
  path: string;
  body?: unknown;
  about: About;
}

const ONE_TRY_MS = 8_000;
const BETWEEN_MS = 400;
/** A center that did not answer is passed by for so long, as long as another may. */
const PASSED_BY_MS = 5_000;

export class Asker {
  readonly #centers: readonly ApiClient[];
  readonly #history: History;
  readonly #model: Model;
  readonly #silent = new Map<ApiClient, number>();
  #turn = 0;

  constructor(centers: readonly ApiClient[], history: History, model: Model) {
    this.#centers = centers;
    this.#history = history;
    this.#model = model;
  }

  record(entry: Entry): void {
    this.#history.append(entry);
    this.#model.apply(entry);
  }

  get now(): number {
    return this.#history.now;
  }

  /** Null: no answer within `limitMs`. */
  async ask(request: Request, step: number, key: string, limitMs: number): Promise<Answered | null> {
    const { kind, method, path, about } = request;
    const asked: Asked = { type: 'asked', at: this.now, step, kind, key, method, path, body: request.body ?? null, about };
    this.record(asked);
    return this.again(asked, limitMs);
  }

  async again(asked: Asked, limitMs: number): Promise<Answered | null> {
    const end = performance.now() + limitMs;
    for (;;) {
      const left = end - performance.now();
      const told = await this.#once(asked, Math.round(Math.max(1_000, Math.min(ONE_TRY_MS, left))));
      if (told !== null) return told;
      if (performance.now() + BETWEEN_MS > end) return null;
      await pause(BETWEEN_MS);
    }
  }

  /** Whichever center answers first in turn; null where none does. */
  async look(path: string, limitMs = 3_000): Promise<Answer | null> {
    for (let tries = 0; tries < this.#centers.length; tries++) {
      const answer = await this.#call('GET', path, undefined, {}, limitMs).catch(() => null);
      if (answer !== null && answer.status < 500) return answer;
    }
    return null;
  }

  /** The centers in turn. */
  async #call(method: string, path: string, body: unknown, headers: Record<string, string>, limitMs: number): Promise<Answer> {
    const now = performance.now();
    const speaking = this.#centers.filter((center) => (this.#silent.get(center) ?? 0) < now);
    const among = speaking.length > 0 ? speaking : this.#centers;
    const center = among[this.#turn++ % among.length] as ApiClient;
    try {
      return await center.call(method, `/openstore_v1${path}`, body, headers, limitMs);
    } catch (error) {
      this.#silent.set(center, performance.now() + PASSED_BY_MS);
      throw error;
    }
  }

  async #once(asked: Asked, limitMs: number): Promise<Answered | null> {
    const { key, method, path } = asked;
    const lost = (why: string) => {
      this.record({ type: 'lost', at: this.now, key, why });
      return null;
    };
    try {
      const answer = await this.#call(method, path, asked.body ?? undefined, { 'Idempotency-Key': key }, limitMs);
      const code = typeof answer.body?.code === 'string' ? (answer.body.code as string) : null;
      if (answer.status >= 500 || code === 'idempotency_in_progress') return lost(`${answer.status} ${code ?? ''}`.trim());
      const told = answeredOf(key, this.now, answer, code);
      this.record(told);
      return told;
    } catch (error) {
      return lost(error instanceof Error ? error.message : String(error));
    }
  }
}

function answeredOf(key: string, at: number, { status, body }: Answer, code: string | null): Answered {
  const text = (name: string): string | null => (typeof body?.[name] === 'string' ? (body[name] as string) : null);
  const texts = (name: string): string[] => (Array.isArray(body?.[name]) ? (body[name] as string[]) : []);
  const job = text('job-id');
  return {
    type: 'answered',
    at,
    key,
    status,
    code,
    jobs: [...(job === null ? [] : [job]), ...texts('job-ids')],
    block: text('block-id'),
    instance: text('ins-id'),
    blocks: texts('block-ids'),
  };
}
