/** The REST API as a test uses it. Polls with a limit where the API has no signal to wait on. */
import { setTimeout as pause } from 'node:timers/promises';

export interface Answer {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of any shape
  body: any;
}

export interface Job {
  id: string;
  kind: string;
  state: string;
  node_id: string | null;
  attempt: number;
  bytes_total: number;
  bytes_done: number;
  bytes_sent: number;
  bytes_skipped: number;
  error: { code: string; message: string } | null;
  started_at: string | null;
  finished_at: string | null;
  /** Of one job alone, not of lists. */
  result?: JobResult | null;
  history?: { attempt: number; from_state: string | null; to_state: string; note: string | null }[];
}

export interface JobResult {
  verified: boolean;
  damage: { pool_id: string; block_id?: string; message: string }[];
  notes?: string[];
  summary?: Record<string, number>;
}

const ENDED = ['succeeded', 'failed', 'cancelled'];

export class ApiClient {
  readonly url: string;
  readonly #readToken: () => Promise<string>;

  constructor(url: string, readToken: () => Promise<string>) {
    this.url = url;
    this.#readToken = readToken;
  }

  async call(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
    limitMs = 30_000,
  ): Promise<Answer> {
    const token = await this.#readToken().catch(() => 'no-token-yet');
    const answer = await fetch(this.url + path, {
      method,
      headers: {
        authorization: `Bearer ${token.trim()}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(limitMs),
    });
    const text = await answer.text();
    const json = (answer.headers.get('content-type') ?? '').includes('json');
    return { status: answer.status, headers: answer.headers, body: json ? JSON.parse(text) : text };
  }

  async get(path: string): Promise<Answer> {
    return this.call('GET', `/openstore_v1${path}`);
  }

  async put(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return this.call('PUT', `/openstore_v1${path}`, body, headers);
  }

  async post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return this.call('POST', `/openstore_v1${path}`, body, headers);
  }

  async delete(path: string): Promise<Answer> {
    return this.call('DELETE', `/openstore_v1${path}`);
  }

  /** As `call`, but anything but success is an error with the problem's words. */
  async ok(method: string, path: string, body?: unknown): Promise<Answer> {
    const answer = await this.call(method, `/openstore_v1${path}`, body);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer;
  }

  async until(path: string, done: (answer: Answer) => boolean, limitMs = 60_000): Promise<Answer> {
    const end = performance.now() + limitMs;
    let last: unknown;
    while (performance.now() < end) {
      try {
        const answer = await this.call('GET', path);
        if (done(answer)) return answer;
        last = answer.body;
      } catch (error) {
        last = error;
      }
      await pause(50);
    }
    throw new Error(
      `${path} did not get there in ${limitMs} ms; last: ${last instanceof Error ? last.message : JSON.stringify(last)}`,
    );
  }

  async job(id: string): Promise<Job> {
    return (await this.ok('GET', `/jobs/${id}`)).body.job as Job;
  }

  async jobWhen(id: string, done: (job: Job) => boolean, limitMs = 60_000): Promise<Job> {
    const answer = await this.until(
      `/openstore_v1/jobs/${id}`,
      ({ status, body }) => status === 200 && done(body.job as Job),
      limitMs,
    );
    return answer.body.job as Job;
  }

  /** Waits for the job's end, whatever it is. */
  async ended(id: string, limitMs = 60_000): Promise<Job> {
    return this.jobWhen(id, (job) => ENDED.includes(job.state), limitMs);
  }

  /** Waits for the job's end; anything but success is an error. */
  async succeeded(id: string, limitMs = 60_000): Promise<Job> {
    const job = await this.ended(id, limitMs);
    if (job.state !== 'succeeded') throw new Error(`job ${id} (${job.kind}) ended ${job.state}: ${JSON.stringify(job.error)}`);
    return job;
  }
}
