/**
 * Bull Board over every node's queues, to look at and no more: jobs are the center's, and a retry from here would go round it.
 * Redis away makes the board say so; nothing else of the center uses this connection.
 */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { HonoAdapter } from '@bull-board/hono';
import { serveStatic } from '@hono/node-server/serve-static';
import { JOB_KINDS, TransientError } from '@openservice/domain';
import { QUEUE_PREFIX, queueName } from '@openservice/protocol';
import { NodeSchema } from '@openservice/store';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { Refusal } from '../services/refusal.ts';
import { askToLogIn, boardLogin, mayReadBoard } from './board-login.ts';
import type { AppDeps } from './deps.ts';
import type { App } from './endpoint.ts';

const REFRESH_MS = 2_000;
const ANSWER_LIMIT_MS = 5_000;

const away = (cause?: unknown): TransientError =>
  new TransientError('redis_unavailable', 'The queues cannot be read: Redis does not answer. Jobs go on once it is back.', {
    cause,
  });

export function board(app: App, deps: AppDeps): { close(): Promise<void> } {
  const queues = new BoardQueues(deps);
  const adapter = new HonoAdapter(serveStatic);
  adapter.setBasePath('/board');
  const bull = createBullBoard({ queues: [], serverAdapter: adapter, options: { uiConfig: { boardTitle: 'openservice' } } });

  boardLogin(app, deps);
  for (const path of ['/board', '/board/*']) {
    app.use(path, async (c, next) => {
      if (!(await mayReadBoard(c, deps))) return askToLogIn(c);
      if (c.req.method !== 'GET' && c.req.method !== 'HEAD') {
        throw new Refusal(
          'method_not_allowed',
          'The board is read-only; use POST /openstore_v1/jobs/{job_id}?action=cancel|retry.',
        );
      }
      if (!c.req.path.startsWith('/board/api')) return next();
      if (await queues.refresh()) bull.replaceQueues(queues.adapters());
      return withLimit(next());
    });
  }
  app.route('/board', adapter.registerPlugin());
  return queues;
}

async function withLimit(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(away()), ANSWER_LIMIT_MS);
  });
  try {
    await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** One queue a node and kind, opened when the board is first looked at. */
class BoardQueues {
  readonly #deps: AppDeps;
  readonly #queues = new Map<string, { queue: Queue; adapter: BullMQAdapter }>();
  #redis: Redis | null = null;
  #refreshedAt = 0;

  constructor(deps: AppDeps) {
    this.#deps = deps;
  }

  /** True when nodes have come or gone since the last look. TransientError `redis_unavailable`. */
  async refresh(): Promise<boolean> {
    const redis = await this.#connected();
    if (Date.now() - this.#refreshedAt < REFRESH_MS) return false;
    this.#refreshedAt = Date.now();
    const nodes = await this.#deps.database.getRepository(NodeSchema).find({ order: { id: 'ASC' } });
    const wanted = new Set(nodes.flatMap((node) => JOB_KINDS.map((kind) => queueName(node.id, kind))));
    let changed = false;
    for (const [name, { queue }] of this.#queues) {
      if (wanted.has(name)) continue;
      this.#queues.delete(name);
      await queue.close();
      changed = true;
    }
    for (const name of wanted) {
      if (this.#queues.has(name)) continue;
      const queue = new Queue(name, { connection: redis, prefix: QUEUE_PREFIX, skipMetasUpdate: true });
      queue.on('error', (error) => this.#deps.log.warn({ queue: name, error: error.message }, 'the board lost a queue'));
      this.#queues.set(name, { queue, adapter: new BullMQAdapter(queue, { readOnlyMode: true, allowRetries: false }) });
      changed = true;
    }
    return changed;
  }

  adapters(): BullMQAdapter[] {
    return [...this.#queues.keys()].sort().map((name) => this.#queues.get(name)!.adapter);
  }

  async #connected(): Promise<Redis> {
    if (this.#redis === null) {
      this.#redis = new Redis(this.#deps.redisUrl, {
        maxRetriesPerRequest: null,
        enableOfflineQueue: false,
        connectTimeout: 2_000,
        lazyConnect: true,
        retryStrategy: (times) => Math.min(times * 200, 5_000),
      });
      this.#redis.on('error', (error) => this.#deps.log.warn({ error: error.message }, 'the board cannot reach Redis'));
      await this.#redis.connect().catch((error: unknown) => {
        throw away(error);
      });
    }
    if (this.#redis.status !== 'ready') throw away();
    return this.#redis;
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#queues.values()].map(({ queue }) => queue.close()));
    this.#queues.clear();
    this.#redis?.disconnect();
    this.#redis = null;
  }
}
