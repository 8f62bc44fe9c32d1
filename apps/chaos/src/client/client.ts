/** One client: its steps, one after the other, until it is told to stop; and then what it left open. */
import { request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { ApiClient } from '@openservice/testkit';
import type { Hands, Playground } from '../actions/action.ts';
import { unsent } from '../actions/send-content.ts';
import { diskBytes } from '../model/content.ts';
import type { Answered, History } from '../model/history.ts';
import { isOver, Model } from '../model/model.ts';
import { Asker } from './asker.ts';
import { planned } from './plan.ts';

/** While so many of its jobs run, a client makes no more. */
const MOST_RUNNING = 12;
const ANSWER_LIMIT_MS = 12_000;

export interface ClientOptions {
  seed: number;
  number: number;
  centers: readonly ApiClient[];
  token: string;
  history: History;
  playground: Playground;
  mostSteps: number;
}

export class Client {
  readonly model = new Model();
  readonly history: History;
  readonly counts = { steps: 0, actions: new Map<string, number>(), answers: new Map<string, number>() };
  readonly #options: ClientOptions;
  readonly #asker: Asker;
  #turn = 0;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.history = options.history;
    this.#asker = new Asker(options.centers, options.history, this.model);
  }

  /** Steps until `signal` fires. */
  async run(signal: AbortSignal): Promise<void> {
    const { seed, number, mostSteps } = this.#options;
    for (let n = 0; n < mostSteps && !signal.aborted; n++) {
      const step = planned(seed, number, n);
      await pause(step.pauseMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      await this.observe();
      const busy = this.model.runningJobs.length >= MOST_RUNNING;
      const frees = ['cancel', 'resume', 'activate'].includes(step.action.kind);
      if (busy && !frees) continue;
      await this.#askOpenAgain();
      if (await step.action.run(this.#hands(step.number, signal), step.draw)) {
        this.counts.actions.set(step.action.kind, (this.counts.actions.get(step.action.kind) ?? 0) + 1);
      }
      this.counts.steps++;
    }
  }

  /** Looks how its jobs are doing. */
  async observe(most = 4): Promise<void> {
    const running = this.model.runningJobs;
    // Not always the same: the oldest may stand still for long.
    const from = running.length > most ? this.#turn++ % running.length : 0;
    for (const job of [...running.slice(from), ...running.slice(0, from)].slice(0, most)) {
      const answer = await this.#asker.look(`/jobs/${job.id}`, 2_000);
      const state = answer?.body.job?.state as string | undefined;
      if (answer?.status !== 200 || state === undefined || state === job.state) continue;
      if (isOver({ state }) && job.origin.kind === 'rewind') {
        const instance = job.origin.about.instance ?? '';
        this.#asker.record({ type: 'rewound', at: this.#asker.now, instance, sure: state === 'succeeded' });
      }
      this.#asker.record({ type: 'saw', at: this.#asker.now, job: job.id, state });
    }
  }

  /** After all is healed: what was never answered is asked again with its key, content is sent to its end, what is paused goes on. */
  async settle(signal: AbortSignal): Promise<void> {
    for (const asked of this.model.open) {
      if (!signal.aborted) await this.#asker.again(asked, 75_000);
    }
    const hands = this.#hands(Number.MAX_SAFE_INTEGER, signal);
    for (let tries = 0; tries < 20 && !signal.aborted; tries++) {
      const block = unsent(hands);
      if (block === undefined) break;
      const bytes = diskBytes(block.content.disk);
      const from = await hands.contentOffset(block.id);
      const told = from === null ? null : await hands.send(block.id, bytes, from, bytes.length);
      // Refused for good (the block is gone, or was given up): nothing more is to be sent.
      if (told === null) await pause(500);
      else if (told.job === null && told.status >= 400) break;
    }
    await this.resumePaused();
  }

  async resumePaused(): Promise<void> {
    await this.observe(Number.MAX_SAFE_INTEGER);
    const paused = this.model.runningJobs.filter(({ state }) => state === 'paused');
    for (const [i, { id }] of paused.entries()) {
      const key = `${this.#name('settle')}-resume-${this.#turn++}-${i}`;
      const asked = { kind: 'resume', method: 'POST', path: `/jobs/${id}?action=resume`, about: { job: id } } as const;
      await this.#asker.ask(asked, -1, key, 15_000);
    }
  }

  async #askOpenAgain(): Promise<void> {
    const [asked] = this.model.open;
    if (asked !== undefined) await this.#asker.again(asked, 2_000);
  }

  #name(step: number | string): string {
    return `c${this.#options.number}-${step}-s${this.#options.seed}`;
  }

  #hands(step: number, signal: AbortSignal): Hands {
    const name = this.#name(step);
    return {
      ...this.#options.playground,
      importDir: (node) => this.#options.playground.importDir(node),
      name,
      model: this.model,
      asker: this.#asker,
      signal,
      ask: async (asked) => this.#count(await this.#asker.ask(asked, step, name, ANSWER_LIMIT_MS)),
      send: (block, bytes, from, end) => this.#send(block, bytes, from, end),
      contentOffset: (block) => this.#contentOffset(block),
    };
  }

  #count(told: Answered | null): Answered | null {
    const what = told === null ? 'lost' : told.status < 300 ? 'accepted' : (told.code ?? String(told.status));
    this.counts.answers.set(what, (this.counts.answers.get(what) ?? 0) + 1);
    return told;
  }

  #center(): ApiClient {
    this.#turn++;
    return this.#options.centers[this.#turn % this.#options.centers.length] as ApiClient;
  }

  async #contentOffset(block: string): Promise<number | null> {
    try {
      const answer = await fetch(`${this.#center().url}/openstore_v1/blocks/${block}/content`, {
        method: 'HEAD',
        headers: { authorization: `Bearer ${this.#options.token}` },
        signal: AbortSignal.timeout(5_000),
      });
      const offset = answer.headers.get('Content-Offset');
      // Refused for good: the answer to the next PUT says why.
      if (offset === null) return answer.status < 500 ? 0 : null;
      return Number(offset);
    } catch {
      return null;
    }
  }

  async #send(block: string, bytes: Buffer, from: number, end: number): Promise<{ status: number; job: string | null } | null> {
    const url = `${this.#center().url}/openstore_v1/blocks/${block}/content`;
    const answer = await put(url, this.#options.token, bytes.subarray(from, end), `bytes ${from}-${end - 1}/${bytes.length}`);
    if (answer === null) return null;
    const job = typeof answer.body['job-id'] === 'string' ? answer.body['job-id'] : null;
    if (job !== null && !this.model.jobs.has(job)) {
      // Content has no key: to send the same again is no error. It is written down once it is answered for.
      const key = `${this.#name('sent')}-${block}`;
      const about = { block };
      const at = this.#asker.now;
      const path = `/blocks/${block}/content`;
      this.#asker.record({ type: 'asked', at, step: -1, kind: 'content-sent', key, method: 'PUT', path, body: null, about });
      const told = { type: 'answered', at, key, status: answer.status, code: null, jobs: [job] } as const;
      this.#asker.record({ ...told, jobs: [job], block: null, instance: null, blocks: [] });
    }
    return { status: answer.status, job };
  }
}

/** Null: no answer. */
function put(
  url: string,
  token: string,
  bytes: Buffer,
  range: string,
): Promise<{ status: number; body: Record<string, unknown> } | null> {
  return new Promise((resolve) => {
    const headers: Record<string, string | number> = {
      authorization: `Bearer ${token}`,
      'content-type': 'application/octet-stream',
      'content-length': bytes.length,
      ...(bytes.length === 0 ? {} : { 'content-range': range }),
    };
    const call = request(url, { method: 'PUT', headers, timeout: 10_000 }, (answer) => {
      const parts: Buffer[] = [];
      answer.on('data', (part: Buffer) => parts.push(part));
      answer.on('error', () => resolve(null));
      answer.on('end', () => {
        try {
          const body = JSON.parse(Buffer.concat(parts).toString('utf8')) as Record<string, unknown>;
          resolve((answer.statusCode ?? 500) >= 500 ? null : { status: answer.statusCode ?? 0, body });
        } catch {
          resolve(null);
        }
      });
    });
    call.on('timeout', () => call.destroy());
    call.on('error', () => resolve(null));
    call.on('close', () => resolve(null));
    call.end(bytes);
  });
}
