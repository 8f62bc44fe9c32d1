/** What the center needs and whether it is there; `/readyz` and the 503s go by it. */
import { type Part, sleep } from '@openservice/runtime';
import type { DataSource } from '@openservice/store';
import { Redis } from 'ioredis';

const LOOK_MS = 1_000;
const ANSWER_LIMIT_MS = 3_000;

export interface Needs {
  mysql: boolean;
  nats: boolean;
  redis: boolean;
}

/** Asks MySQL and Redis every second. Redis is only looked at by the board: a job needs none in the center. */
export class Readiness implements Part {
  readonly name = 'readiness';
  readonly #database: DataSource;
  readonly #redis: Redis;
  readonly #natsUp: () => boolean;
  readonly #stopping = new AbortController();
  #mysqlUp = false;
  #work: Promise<void> = Promise.resolve();

  constructor(database: DataSource, redisUrl: string, natsUp: () => boolean) {
    this.#database = database;
    this.#natsUp = natsUp;
    this.#redis = new Redis(redisUrl, { lazyConnect: true, maxRetriesPerRequest: null, enableOfflineQueue: false });
    // ioredis throws where nobody listens; that it is away is what `now()` says.
    this.#redis.on('error', () => undefined);
  }

  now(): Needs {
    return { mysql: this.#mysqlUp, nats: this.#natsUp(), redis: this.#redis.status === 'ready' };
  }

  /** The schema is there: from now on MySQL counts when it answers. */
  databaseOpened(): void {
    this.#mysqlUp = true;
  }

  async start(): Promise<void> {
    this.#redis.connect().catch(() => undefined);
    this.#work = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#redis.disconnect();
    await this.#work;
  }

  async #run(): Promise<void> {
    let opened = false;
    while (!this.#stopping.signal.aborted) {
      opened ||= this.#mysqlUp;
      if (opened) this.#mysqlUp = await this.#mysqlAnswers();
      await sleep(LOOK_MS, this.#stopping.signal).catch(() => undefined);
    }
  }

  async #mysqlAnswers(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), ANSWER_LIMIT_MS);
    });
    const answer = this.#database.query('SELECT 1').then(
      () => true,
      () => false,
    );
    const up = await Promise.race([answer, late]);
    clearTimeout(timer);
    return up;
  }
}
