/** What the groups about the control plane share: blocks that lie nowhere, on a node whose jobs do nothing. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TransientError } from '@openservice/domain';
import type { Lab } from '../lab.ts';
import { BenchChild } from './child.ts';
import { available, Rows, rowId } from './rows.ts';

export const EMPTY_NODE = 'bench-empty';
export const CONCURRENCY = 50;
const ONLINE_LIMIT_MS = 30_000;
const LOOK_MS = 25;

export class EmptyWork {
  readonly rows: Rows;
  readonly #lab: Lab;
  #node: BenchChild | null = null;

  constructor(lab: Lab) {
    this.#lab = lab;
    this.rows = new Rows(lab, { nodeId: EMPTY_NODE, poolId: rowId('pool', 1) });
  }

  /** `node` false: none is started; its jobs are somebody else's. */
  async start(node = true): Promise<void> {
    await this.rows.begin();
    if (!node) return;
    const dir = join(this.#lab.dir, 'stack', EMPTY_NODE);
    await rm(dir, { recursive: true, force: true });
    this.#node = await BenchChild.start(this.#lab, './empty-node.ts', EMPTY_NODE, {
      BENCH_NODE: EMPTY_NODE,
      BENCH_DIR: dir,
      BENCH_CONCURRENCY: String(CONCURRENCY),
    });
    await this.#online();
  }

  /** Submits a job about the available block `n`; answers its id. */
  async submit(n: number): Promise<string> {
    const answer = await this.#lab.api.request('POST', `/blocks/${rowId('block', available(n))}?action=verify`, {});
    return (answer as { 'job-id': string })['job-id'];
  }

  /** Waits until that many jobs of the node have succeeded since `since`, an id. Looks at the database, so that the center is not asked. */
  async succeeded(count: number, since: string, limitMs: number, nodeId = EMPTY_NODE): Promise<void> {
    const limit = performance.now() + limitMs;
    for (;;) {
      const ended = await this.rows.jobs(nodeId, 'succeeded', since);
      if (ended >= count) return;
      this.#lab.signal.throwIfAborted();
      if (performance.now() > limit) {
        throw new TransientError('bench_stuck', `${ended} of ${count} jobs have ended after ${Math.round(limitMs / 1000)} s.`);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  get pids(): Record<string, number> {
    return this.#node === null ? {} : { [EMPTY_NODE]: this.#node.pid };
  }

  async stop(): Promise<void> {
    await this.#node?.stop();
    await this.rows.end();
  }

  async #online(): Promise<void> {
    const limit = performance.now() + ONLINE_LIMIT_MS;
    while (performance.now() < limit) {
      const state = await this.#lab.api.node(EMPTY_NODE).then(
        (node) => node.state,
        () => 'unknown',
      );
      if (state === 'online') return;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    throw new TransientError('bench_node_away', `The bench's own node ${EMPTY_NODE} did not come online.`);
  }
}
