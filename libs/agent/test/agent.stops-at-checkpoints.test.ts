import { QUEUE_PREFIX, queueJobId, queueName } from '@openservice/protocol';
import { Queue } from 'bullmq';
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { StoppedAtCheckpoint } from '../src/stop.ts';
import { NatsServer, needsServers, REDIS_URL } from './support/servers.ts';
import { StandInCenter } from './support/stand-in-center.ts';
import { deferred, RESULT, startToyNode, type Toy, type ToyContext, tempDir } from './support/toy.ts';

const PROGRESS = { bytes_total: 4, bytes_done: 2, bytes_sent: 2, bytes_skipped: 0, rate: 1, eta_ms: null };
let count = 0;

/** Works in steps: `step` lets it come to its next checkpoint. */
class Steps implements Toy {
  readonly runs: string[] = [];
  readonly errors: unknown[] = [];
  readonly cleaned: string[] = [];
  concurrency = 1;
  #waiting: (() => void)[] = [];
  #begun: (() => void)[] = [];

  async run(context: ToyContext): Promise<typeof RESULT> {
    this.runs.push(`${context.jobId} ${JSON.stringify(context.lastCheckpoint)}`);
    for (const tell of this.#begun.splice(0)) tell();
    try {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      context.progress(PROGRESS);
      await context.checkpoint({ step: 1 });
    } catch (error) {
      this.errors.push(error);
      throw error;
    }
    await context.preparing();
    await context.requestCommit(RESULT);
    return RESULT;
  }

  async cleanUp({ jobId }: { jobId: string }): Promise<void> {
    this.cleaned.push(jobId);
  }

  async begun(runs: number): Promise<void> {
    while (this.runs.length < runs || this.#waiting.length === 0) await new Promise<void>((resolve) => this.#begun.push(resolve));
  }

  step(): void {
    for (const go of this.#waiting.splice(0)) go();
  }
}

describe('agent, told to stop at a checkpoint', function () {
  this.timeout(20_000);
  let nats: NatsServer;
  let redis: Redis;
  let center: StandInCenter;
  let toy: Steps;
  let dir: Awaited<ReturnType<typeof tempDir>>;
  const stops: (() => Promise<void>)[] = [];

  before(async function () {
    needsServers(this);
    nats = await NatsServer.start();
    redis = new Redis(REDIS_URL ?? '', { maxRetriesPerRequest: null });
  });
  after(async () => {
    redis?.disconnect();
    await nats?.stop();
  });
  beforeEach(async () => {
    dir = await tempDir();
    center = await StandInCenter.start(nats.url, `stops-${process.pid}-${++count}`);
    toy = new Steps();
  });
  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
    await center.stop();
    await dir.remove();
  });

  async function start(which: Toy = toy): Promise<() => Promise<void>> {
    const options = { natsUrl: nats.url, redisUrl: REDIS_URL ?? '', nodeId: center.nodeId, dataDir: dir.path, toy: which };
    const { stop } = await startToyNode(options);
    stops.push(stop);
    return stop;
  }
  const has = (job: string, type: string) => center.until(() => center.find(job, type) !== undefined);
  const taken = () => center.untilTaken();

  it('pauses a running job at its checkpoint, lets another one run, and goes on from there', async () => {
    await start();
    await center.run('job-a');
    await toy.begun(1);
    await center.command('pause', 'job-a');
    await center.command('pause', 'job-a');
    await taken();
    toy.step();
    await has('job-a', 'paused');
    expect(center.of('job-a')).to.deep.equal(['accepted', 'running', 'checkpoint', 'paused']);
    expect(center.find('job-a', 'paused')?.payload).to.deep.equal({ progress: PROGRESS });
    expect(toy.errors[0]).to.be.instanceOf(StoppedAtCheckpoint);
    await center.run('job-b');
    await toy.begun(2);
    toy.step();
    await has('job-b', 'succeeded');
    await center.command('resume', 'job-a');
    await center.command('resume', 'job-a');
    await toy.begun(3);
    await taken();
    toy.step();
    await has('job-a', 'succeeded');
    expect(toy.runs).to.deep.equal(['job-a null', 'job-b null', 'job-a {"step":1}']);
    expect(toy.cleaned).to.deep.equal([]);
    expect(center.of('job-a')).to.deep.equal([
      ...['accepted', 'running', 'checkpoint', 'paused'],
      ...['running', 'checkpoint', 'preparing', 'succeeded'],
    ]);
  });

  it('keeps a paused job off the queue and the board, over a restart, and tells the center of it', async () => {
    const stop = await start();
    await center.run('job-a');
    await toy.begun(1);
    await center.command('pause', 'job-a');
    await taken();
    toy.step();
    await has('job-a', 'paused');
    await stop();
    await start();
    const syncs = center.syncs;
    await center.send('sync', 'job-x', 1, {});
    await center.until(() => center.syncs > syncs);
    expect(center.held).to.deep.include({ job_id: 'job-a', attempt: 1, state: 'paused' });
    await center.run('job-b');
    await toy.begun(2);
    toy.step();
    await has('job-b', 'succeeded');
    const queue = new Queue(queueName(center.nodeId, 'import'), { connection: redis, prefix: QUEUE_PREFIX });
    expect(await queue.getJob(queueJobId('job-a', 1))).to.equal(undefined);
    await queue.close();
    await center.command('resume', 'job-a');
    await toy.begun(3);
    toy.step();
    await has('job-a', 'succeeded');
    expect(toy.runs.at(-1)).to.equal('job-a {"step":1}');
  });

  it('pauses a job that waits without running it, and one whose command comes after the pause', async () => {
    await start();
    await center.run('job-a');
    await toy.begun(1);
    await center.run('job-b');
    await center.command('pause', 'job-b');
    await center.command('pause', 'job-c');
    await center.run('job-c');
    await has('job-b', 'paused');
    await has('job-c', 'paused');
    expect(center.of('job-b')).to.deep.equal(['accepted', 'paused']);
    expect(center.of('job-c')).to.deep.equal(['accepted', 'paused']);
    expect(center.find('job-c', 'paused')?.payload).to.deep.equal({ progress: null });
    toy.step();
    await has('job-a', 'succeeded');
    expect(toy.runs).to.deep.equal(['job-a null']);
    await center.command('resume', 'job-c');
    await toy.begun(2);
    toy.step();
    await has('job-c', 'succeeded');
  });

  it('takes a pause back that has not taken effect, and lets a pause be that comes too late', async () => {
    await start();
    await center.run('job-a');
    await toy.begun(1);
    await center.command('pause', 'job-a');
    await center.command('resume', 'job-a');
    await taken();
    toy.step();
    await has('job-a', 'succeeded');
    await center.command('pause', 'job-a');
    await center.command('drain', 'job-a');
    await center.command('resume', 'job-a');
    await taken();
    expect(toy.runs).to.have.length(1);
    expect(center.of('job-a')).to.not.include.members(['paused', 'yielded']);
  });

  it('stops nothing that prepares', async () => {
    const preparing = deferred();
    const release = deferred();
    await start({
      run: async (context) => {
        await context.preparing();
        preparing.resolve();
        await release.promise;
        await context.checkpoint({ prepared: true });
        await context.requestCommit(RESULT);
        return RESULT;
      },
    });
    await center.run('job-a');
    await preparing.promise;
    await center.command('pause', 'job-a');
    await center.command('drain', 'job-a');
    await taken();
    release.resolve();
    await has('job-a', 'succeeded');
    expect(center.of('job-a')).to.deep.equal(['accepted', 'running', 'preparing', 'succeeded']);
  });

  it('gives a running job, one that waits and a paused one back, without cleaning up', async () => {
    await start();
    await center.run('job-a');
    await toy.begun(1);
    await center.command('pause', 'job-a');
    await taken();
    toy.step();
    await has('job-a', 'paused');
    await center.run('job-b');
    await toy.begun(2);
    await center.run('job-c');
    for (const job of ['job-a', 'job-b', 'job-c']) await center.command('drain', job);
    await has('job-a', 'yielded');
    await has('job-c', 'yielded');
    toy.step();
    await has('job-b', 'yielded');
    expect(center.find('job-a', 'yielded')?.payload).to.deep.equal({ progress: PROGRESS });
    expect(center.find('job-b', 'yielded')?.payload).to.deep.equal({ progress: PROGRESS });
    expect(center.find('job-c', 'yielded')?.payload).to.deep.equal({ progress: null });
    expect(center.of('job-b')).to.deep.equal(['accepted', 'running', 'checkpoint', 'yielded']);
    expect(toy.cleaned).to.deep.equal([]);
    // Where no other node can do it, the next attempt comes back here.
    await center.run('job-b', 2);
    await toy.begun(3);
    toy.step();
    await has('job-b', 'succeeded');
    expect(toy.runs.at(-1)).to.equal('job-b {"step":1}');
  });

  it('cleans up after a paused job that is cancelled', async () => {
    await start();
    await center.run('job-a');
    await toy.begun(1);
    await center.command('pause', 'job-a');
    await taken();
    toy.step();
    await has('job-a', 'paused');
    await center.send('cancel', 'job-a', 1, { reason: 'by hand' });
    await has('job-a', 'cancelled');
    expect(toy.cleaned).to.deep.equal(['job-a']);
    expect(center.of('job-a').at(-1)).to.equal('cancelled');
    await center.command('resume', 'job-a');
    await taken();
    expect(toy.runs).to.have.length(1);
  });

  it('cancels a job that is cancelled while it stops', async () => {
    const stopping = deferred();
    const release = deferred();
    const cleaned: string[] = [];
    await start({
      run: async (context) => {
        await has('probe', 'cancelled');
        try {
          await context.checkpoint({ step: 1 });
        } finally {
          stopping.resolve();
          await release.promise;
        }
        return RESULT;
      },
      cleanUp: async ({ jobId }) => void cleaned.push(jobId),
    });
    await center.run('job-a');
    await has('job-a', 'running');
    await center.command('pause', 'job-a');
    await center.send('cancel', 'probe', 1, { reason: 'a mark' });
    await stopping.promise;
    await center.send('cancel', 'job-a', 1, { reason: 'by hand' });
    await taken();
    release.resolve();
    await has('job-a', 'cancelled');
    expect(cleaned).to.deep.equal(['job-a']);
    expect(center.of('job-a')).to.not.include('paused');
  });

  it('runs on when it is resumed while it stops', async () => {
    const stopping = deferred();
    const release = deferred();
    let runs = 0;
    await start({
      run: async (context) => {
        if (++runs === 2) return RESULT;
        await has('probe', 'cancelled');
        try {
          await context.checkpoint({ step: 1 });
        } finally {
          stopping.resolve();
          await release.promise;
        }
        return RESULT;
      },
    });
    await center.run('job-a');
    await has('job-a', 'running');
    await center.command('pause', 'job-a');
    await center.send('cancel', 'probe', 1, { reason: 'a mark' });
    await stopping.promise;
    await center.command('resume', 'job-a');
    await taken();
    release.resolve();
    await has('job-a', 'succeeded');
    expect(runs).to.equal(2);
    expect(center.of('job-a')).to.not.include('paused');
  });

  it('lets no handler go on that swallows the stop', async () => {
    const seen: string[] = [];
    await start({
      run: async (context) => {
        await has('probe', 'cancelled');
        const steps = [
          () => context.checkpoint({ step: 1 }),
          () => context.checkpoint({ step: 2 }),
          () => context.preparing(),
          () => context.requestCommit(RESULT),
        ];
        for (const step of steps) await step().catch((error: Error) => seen.push(error.constructor.name));
        throw new Error('swallowed');
      },
    });
    await center.run('job-a');
    await has('job-a', 'running');
    await center.command('pause', 'job-a');
    await center.send('cancel', 'probe', 1, { reason: 'a mark' });
    await has('job-a', 'paused');
    expect(seen).to.deep.equal(Array(4).fill('StoppedAtCheckpoint'));
    expect(center.prepares).to.equal(0);
  });

  for (const verdict of ['abort', 'forget'] as const) {
    it(`drops a paused job without a word when the center says ${verdict}`, async () => {
      await start();
      await center.run('job-a');
      await toy.begun(1);
      await center.command('pause', 'job-a');
      await taken();
      toy.step();
      await has('job-a', 'paused');
      center.verdict = verdict;
      for (let more = 2; more > 0; more--) {
        const syncs = center.syncs;
        await center.send('sync', 'job-x', 1, {});
        await center.until(() => center.syncs > syncs);
      }
      expect(center.held).to.deep.equal([]);
      center.verdict = 'continue';
      await center.command('resume', 'job-a');
      await center.run('job-b');
      await toy.begun(2);
      toy.step();
      await has('job-b', 'succeeded');
      expect(toy.runs).to.deep.equal(['job-a null', 'job-b null']);
      expect(toy.cleaned).to.deep.equal([]);
    });
  }

  it('lets what has priority run first', async () => {
    await start();
    await center.run('job-a');
    await toy.begun(1);
    await center.run('job-low', 1, 9);
    await center.run('job-high', 1, 1);
    await center.run('job-mid', 1, 5);
    for (const job of ['job-low', 'job-high', 'job-mid']) await has(job, 'accepted');
    for (const runs of [2, 3, 4, 5]) {
      toy.step();
      if (runs < 5) await toy.begun(runs);
    }
    await has('job-low', 'succeeded');
    expect(toy.runs.map((run) => run.split(' ')[0])).to.deep.equal(['job-a', 'job-high', 'job-mid', 'job-low']);
  });

  it('keeps the priority when Redis loses everything', async () => {
    await start();
    await center.run('job-a');
    await toy.begun(1);
    await center.run('job-low', 1, 9);
    await center.run('job-high', 1, 1);
    for (const job of ['job-low', 'job-high']) await has(job, 'accepted');
    const queue = new Queue(queueName(center.nodeId, 'import'), { connection: redis, prefix: QUEUE_PREFIX });
    const prioritized = async () => (await queue.getJobs(['prioritized'])).map(({ name, priority }) => `${name} ${priority}`);
    await redis.flushall();
    while ((await prioritized()).length < 2) await redis.ping();
    expect((await prioritized()).sort()).to.deep.equal(['import 1', 'import 9']);
    await queue.close();
    toy.step();
    await toy.begun(2);
    expect(toy.runs[1]).to.equal('job-high null');
    toy.step();
    await toy.begun(3);
    toy.step();
    await has('job-low', 'succeeded');
  });
});
