/** The REST API as the demo and the bench use it: JSON over fetch, one sentence for whatever goes wrong. */
import { type OpenServiceError, PermanentError, TransientError } from '@openservice/domain';

export interface Job {
  id: string;
  kind: string;
  state: string;
  node_id: string | null;
  attempt: number;
  bytes_total: number | null;
  bytes_done: number;
  bytes_sent: number;
  bytes_skipped: number;
  error: { code: string; message: string } | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
}

export interface Replica {
  pool_id: string;
  state: string;
  stored_bytes: number;
}

export interface Block {
  id: string;
  size: number;
  state: string;
  root_digest: string | null;
  replicas: Replica[];
  error: { code: string; message: string } | null;
}

export interface NodeInfo {
  id: string;
  state: string;
  epoch: number;
}

const REQUEST_TIMEOUT_MS = 60_000;

export class ApiClient {
  readonly #base: string;
  readonly #token: string;

  /** `url`: the center's, without the base path. */
  constructor(url: string, token: string) {
    this.#base = `${url.replace(/\/$/, '')}/openstore_v1`;
    this.#token = token;
  }

  /**
   * The answer's body. TransientError `unreachable` or with the answer's own code (503), PermanentError with the code of the
   * problem+json (4xx, 5xx). `path` begins below the base path.
   */
  async request(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(this.#base + path, {
      method,
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    }).catch((error: Error) => {
      const why = error.cause instanceof Error ? error.cause.message : error.message;
      throw new TransientError('unreachable', `${method} ${path}: the center at ${this.#base} did not answer (${why}).`);
    });
    const text = await response.text();
    if (!response.ok) throw problem(`${method} ${path}`, response.status, text);
    return text === '' ? {} : JSON.parse(text);
  }

  async createPool(fields: Record<string, unknown>): Promise<string> {
    return field(await this.request('PUT', '/pools', fields), 'pool-id');
  }

  /** Starts an import of a file into a pool of the node that holds it. */
  async importFile(fields: {
    name: string;
    pool_id: string;
    path: string;
    node_id: string;
  }): Promise<{ blockId: string; jobId: string }> {
    const answer = await this.request('PUT', '/blocks', {
      name: fields.name,
      pool_id: fields.pool_id,
      source: { type: 'file', node_id: fields.node_id, path: fields.path },
    });
    return { blockId: field(answer, 'block-id'), jobId: field(answer, 'job-id') };
  }

  /** Starts `upload` or `restore`; answers the job's id. */
  async blockAction(
    blockId: string,
    action: 'upload' | 'restore',
    body: { pool_id: string; from_pool_id?: string },
  ): Promise<string> {
    return field(await this.request('POST', `/blocks/${blockId}?action=${action}`, body), 'job-id');
  }

  /** Starts a copy as a new block. */
  async copyBlock(blockId: string, body: { pool_id: string; name?: string }): Promise<{ blockId: string; jobId: string }> {
    const answer = await this.request('POST', `/blocks/${blockId}?action=copy`, body);
    return { blockId: field(answer, 'block-id'), jobId: field(answer, 'job-id') };
  }

  /** Starts a restore to a new file of a node; answers the job's id. */
  async restoreToFile(blockId: string, target: { node_id: string; path: string }): Promise<string> {
    const body = { target: { type: 'file', ...target } };
    return field(await this.request('POST', `/blocks/${blockId}?action=restore`, body), 'job-id');
  }

  /** Starts the deletion of a block (`purge`: past the trash), or of its replica in one pool alone; answers the job's id. */
  async deleteBlock(blockId: string, options: { poolId?: string | undefined; purge?: boolean } = {}): Promise<string> {
    const { poolId, purge } = options;
    const query = poolId !== undefined ? `?pool_id=${poolId}` : purge === true ? '?purge=true' : '';
    return field(await this.request('DELETE', `/blocks/${blockId}${query}`), 'job-id');
  }

  /** Starts a collection; answers the job's id. */
  async collectPool(poolId: string): Promise<string> {
    return field(await this.request('POST', `/pools/${poolId}?action=gc`), 'job-id');
  }

  async job(id: string): Promise<Job> {
    return (await this.#one(`/jobs/${id}`, 'job')) as Job;
  }

  async block(id: string): Promise<Block> {
    return (await this.#one(`/blocks/${id}`, 'block')) as Block;
  }

  async node(id: string): Promise<NodeInfo> {
    return (await this.#one(`/nodes/${id}`, 'node')) as NodeInfo;
  }

  async #one(path: string, name: string): Promise<unknown> {
    const answer = (await this.request('GET', path)) as Record<string, unknown>;
    const value = answer[name];
    if (typeof value !== 'object' || value === null) {
      throw new PermanentError(
        'unexpected_answer',
        `GET ${path} answered without "${name}": ${JSON.stringify(answer).slice(0, 200)}`,
      );
    }
    return value;
  }
}

function field(answer: unknown, name: string): string {
  const value = (answer as Record<string, unknown>)[name];
  if (typeof value !== 'string') {
    throw new PermanentError(
      'unexpected_answer',
      `The center answered without "${name}": ${JSON.stringify(answer).slice(0, 200)}`,
    );
  }
  return value;
}

function problem(call: string, status: number, text: string): OpenServiceError {
  let parsed: { code?: unknown; detail?: unknown; title?: unknown } = {};
  try {
    parsed = JSON.parse(text) as typeof parsed;
  } catch {
    // Not ours: a proxy, or a crash. The status and the first words must do.
    parsed = { detail: text.slice(0, 200) };
  }
  const code = typeof parsed.code === 'string' ? parsed.code : `http_${status}`;
  const sentence = String(parsed.detail ?? parsed.title ?? 'no reason given');
  const message = `${call} answered ${status} ${code}: ${sentence}`;
  return status === 503 || status === 429 ? new TransientError(code, message) : new PermanentError(code, message);
}
