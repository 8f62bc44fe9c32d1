/** The stack that is measured, and the pieces every group needs. It is the one of `npm start`, with nothing tuned for the bench. */
import { execFile } from 'node:child_process';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ApiClient, type Job } from '@openservice/stack/demo/api-client';
import { followJob } from '@openservice/stack/demo/follow-job';
import { nodeOf } from '@openservice/stack/demo/node-crash';
import { createLocalPool, createS3Pool } from '@openservice/stack/demo/steps/create-pools';
import { type Stack, startStack } from '@openservice/stack/stack';

export const NODE_ID = 'node-1';
const run = promisify(execFile);

export class Lab {
  readonly dir: string;
  readonly stack: Stack;
  readonly api: ApiClient;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  readonly #run = Date.now().toString(36);
  #pools = 0;

  private constructor(dir: string, stack: Stack, say: (line: string) => void, signal: AbortSignal) {
    this.dir = dir;
    this.stack = stack;
    this.api = new ApiClient(stack.stack.center.url, stack.stack.center.token);
    this.say = say;
    this.signal = signal;
  }

  /** `dir`: absolute. Images stay in it from one run to the next; the stack's own state does not. */
  static async start(dir: string, say: (line: string) => void, signal: AbortSignal): Promise<Lab> {
    const state = join(dir, 'stack');
    await rm(state, { recursive: true, force: true });
    await mkdir(join(dir, 'images'), { recursive: true });
    return new Lab(dir, await startStack({ dir: state, signal, quiet: true }), say, signal);
  }

  get imports(): string {
    return nodeOf(this.stack, NODE_ID).import_root;
  }

  async localPool(): Promise<{ id: string; path: string }> {
    const path = join(this.dir, 'stack', `pool-${this.#pools++}`);
    return { id: await createLocalPool(this.api, { name: `bench-local-${this.#pools}`, nodeId: NODE_ID, path }), path };
  }

  async dedupPool(): Promise<{ id: string; path: string }> {
    const path = join(this.dir, 'stack', `pool-${this.#pools++}`);
    const name = `bench-dedup-${this.#pools}`;
    return { id: await this.api.createPool({ name, type: 'dedup', node_id: NODE_ID, path }), path };
  }

  /** Each has a prefix of its own: nothing that an earlier repetition stored is found again. */
  async s3Pool(endpoint: string = this.stack.stack.s3.endpoint): Promise<string> {
    const name = `bench-${this.#run}-${this.#pools++}`;
    return createS3Pool(this.api, { ...this.stack.stack.s3, endpoint, name, prefix: name });
  }

  /** Ends when the job has succeeded. */
  async follow(jobId: string): Promise<Job> {
    return followJob(this.api, jobId, { signal: this.signal, pollMs: 50 });
  }

  async import(poolId: string, path: string): Promise<{ blockId: string; job: Job }> {
    const { blockId, jobId } = await this.api.importFile({ name: 'bench', pool_id: poolId, node_id: NODE_ID, path });
    return { blockId, job: await this.follow(jobId) };
  }

  async transfer(blockId: string, action: 'upload' | 'restore', poolId: string): Promise<Job> {
    return this.follow(await this.api.blockAction(blockId, action, { pool_id: poolId }));
  }

  async copy(blockId: string, poolId: string): Promise<{ blockId: string; job: Job }> {
    const copy = await this.api.copyBlock(blockId, { pool_id: poolId });
    return { blockId: copy.blockId, job: await this.follow(copy.jobId) };
  }

  async restoreToFile(blockId: string, path: string): Promise<Job> {
    return this.follow(await this.api.restoreToFile(blockId, { node_id: NODE_ID, path }));
  }

  /** For good, without the trash: the next repetition finds the disk as this one did. */
  async delete(blockId: string, poolId?: string): Promise<void> {
    await this.follow(await this.api.deleteBlock(blockId, { poolId, purge: true }));
  }

  /** Frees what deleted blocks left in a packs pool. */
  async collect(poolId: string): Promise<void> {
    await this.follow(await this.api.collectPool(poolId));
  }

  async stop(): Promise<void> {
    await this.stack.stop();
  }
}

/** Seconds from the acceptance of a job (202) to its end, by the center's clock: queueing, checks and commit included. */
export function jobSeconds(job: Job): number {
  return (Date.parse(job.finished_at ?? '') - Date.parse(job.created_at)) / 1000;
}

/** Runs a program to its end; answers its seconds. Throws with its last words. */
export async function timeProgram(
  command: string,
  args: string[],
  signal: AbortSignal,
  env: NodeJS.ProcessEnv = {},
): Promise<number> {
  const since = performance.now();
  // rclone goes on trying after SIGTERM; nothing of the bench may outlive it.
  await run(command, args, { signal, killSignal: 'SIGKILL', env: { ...process.env, ...env }, maxBuffer: 64 * 1024 * 1024 });
  return (performance.now() - since) / 1000;
}

/** Waits until nothing that was written before is left to be written: no side pays for the other's bytes. */
export async function settle(signal: AbortSignal): Promise<void> {
  await run('sync', [], { signal });
}

/** Reads a file once, so that both sides find it in memory. */
export async function warm(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.allocUnsafe(4 * 1024 * 1024);
    while ((await file.read(buffer, 0, buffer.length)).bytesRead > 0);
  } finally {
    await file.close();
  }
}
