import { CancelledError, PermanentError, TransientError } from '@openservice/domain';
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { NatsServer, needsServers, REDIS_URL, RedisServer } from './support/servers.ts';
import { StandInCenter } from './support/stand-in-center.ts';
import { deferred, RESULT, startToyNode, type Toy, tempDir, untilAborted } from './support/toy.ts';

const PROGRESS = { bytes_total: 4, bytes_done: 4, bytes_sent: 4, bytes_skipped: 0, rate: 1, eta_ms: 0 };
let count = 0;

describe('agent', function () {
  this.timeout(20_000);
  let nats: NatsServer;
  let center: StandInCenter;
  let dir: Awaited<ReturnType<typeof tempDir>>;
  const stops: (() => Promise<void>)[] = [];

  before(async function () {
    needsServers(this);
    nats = await NatsServer.start();
  });
  after(() => nats?.stop());
  beforeEach(async () => {
    dir = await tempDir();
    center = await StandInCenter.start(nats.url, `toy-${process.pid}-${++count}`);
  });
  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
    await center.stop();
    await dir.remove();
  });

  async function start(toy: Toy, redisUrl = REDIS_URL ?? '', onTokenKey?: (key: string) => void): Promise<() => Promise<void>> {
    const node = await startToyNode({
      natsUrl: nats.url,
      redisUrl,
      nodeId: center.nodeId,
      dataDir: dir.path,
      toy,
      onTokenKey,
    });
    stops.push(node.stop);
    return node.stop;
  }

  it('takes a command to a handler and tells each step in order', async () => {
    await start({
      run: async (context) => {
        context.progress(PROGRESS);
        await context.checkpoint({ at: 4 });
        await context.preparing();
        await context.requestCommit(RESULT);
        context.assertLease();
        return RESULT;
      },
    });
    await center.run('job-a');
    await center.until(() => center.find('job-a', 'succeeded') !== undefined);
    expect(center.of('job-a')).to.deep.equal(['accepted', 'running', 'checkpoint', 'preparing', 'succeeded']);
    expect(center.events.map(({ seq }) => seq)).to.deep.equal([1, 2, 3, 4, 5]);
    expect(await center.backlog()).to.equal(0);
  });

  it('runs a command that comes twice once', async () => {
    let runs = 0;
    await start({
      run: async () => {
        runs++;
        return RESULT;
      },
    });
    const command = await center.run('job-a');
    await center.sendRaw('run', { ...command, id: 'again-1' });
    await center.until(() => center.find('job-a', 'succeeded') !== undefined);
    await center.sendRaw('run', { ...command, id: 'again-2' });
    await center.run('job-b');
    await center.until(() => center.find('job-b', 'succeeded') !== undefined);
    expect(runs).to.equal(2);
    expect(center.of('job-a')).to.deep.equal(['accepted', 'running', 'succeeded']);
  });

  it('takes a burst of commands, each once', async () => {
    const ran = new Map<string, number>();
    await start({
      run: async ({ jobId }) => {
        ran.set(jobId, (ran.get(jobId) ?? 0) + 1);
        return RESULT;
      },
    });
    const jobs = Array.from({ length: 100 }, (_, i) => `job-${i}`);
    await Promise.all(jobs.map((job) => center.run(job)));
    await center.until(() => jobs.every((job) => center.find(job, 'succeeded') !== undefined));
    expect([...ran.values()]).to.deep.equal(jobs.map(() => 1));
    expect(await center.backlog()).to.equal(0);
  });

  it('takes poison out of the stream and goes on', async () => {
    await start({ run: async () => RESULT });
    await center.sendRaw('run', 'no json {');
    await center.sendRaw('run', { v: 1, type: 'run' });
    const command = await center.run('job-c');
    await center.sendRaw('run', { ...command, id: 'x', node: 'someone-else', job_id: 'job-d' });
    await center.run('job-a');
    await center.until(() => center.find('job-a', 'succeeded') !== undefined && center.find('job-c', 'succeeded') !== undefined);
    expect(center.of('job-d')).to.deep.equal([]);
    expect(await center.backlog()).to.equal(0);
  });

  it('ends a job whose parameters it cannot read', async () => {
    await start({ run: async () => RESULT });
    await center.send('run', 'job-a', 1, { kind: 'import', fence: 1, params: { nonsense: 1 } });
    await center.until(() => center.find('job-a', 'failed') !== undefined);
    expect(center.find('job-a', 'failed')?.payload).to.deep.include({ transient: false });
    expect(JSON.stringify(center.find('job-a', 'failed')?.payload)).to.include('invalid_command');
  });

  it('tells a transient failure from one for good, and cleans up after the latter alone', async () => {
    const cleaned: string[] = [];
    await start({
      run: async ({ jobId }) => {
        throw jobId === 'job-t' ? new TransientError('unreachable', 'Away.') : new PermanentError('no_space', 'Full.');
      },
      cleanUp: async ({ jobId }) => {
        cleaned.push(jobId);
      },
    });
    await center.run('job-t');
    await center.run('job-p');
    await center.until(() => center.find('job-t', 'failed') !== undefined && center.find('job-p', 'failed') !== undefined);
    const error = { code: 'no_space', message: 'Full.' };
    expect(center.find('job-p', 'failed')?.payload).to.deep.equal({ error, transient: false, progress: null });
    expect(center.find('job-t', 'failed')?.payload).to.deep.include({ transient: true });
    expect(cleaned).to.deep.equal(['job-p']);
  });

  it('cancels a running job, cleans up, and then says so', async () => {
    const running = deferred();
    let cleaned = false;
    let reason: unknown;
    await start({
      run: async ({ signal }) => {
        running.resolve();
        return await untilAborted(signal).catch((error: unknown) => {
          reason = error;
          throw error;
        });
      },
      cleanUp: async () => {
        cleaned = center.find('job-a', 'cancelled') === undefined;
      },
    });
    await center.run('job-a');
    await running.promise;
    await center.send('cancel', 'job-a', 1, { reason: 'by hand' });
    await center.until(() => center.find('job-a', 'cancelled') !== undefined);
    expect(reason).to.be.instanceOf(CancelledError);
    expect(cleaned).to.equal(true);
  });

  it('cancels a job that waits, and one that it never heard of, whose command comes later', async () => {
    const running = deferred();
    const release = deferred();
    const ran: string[] = [];
    await start({
      concurrency: 1,
      run: async ({ jobId }) => {
        ran.push(jobId);
        running.resolve();
        await release.promise;
        return RESULT;
      },
    });
    await center.run('job-a');
    await running.promise;
    await center.run('job-b');
    await center.send('cancel', 'job-b', 1, { reason: 'by hand' });
    await center.send('cancel', 'job-c', 1, { reason: 'by hand' });
    await center.run('job-c');
    await center.until(() => center.find('job-b', 'cancelled') !== undefined && center.find('job-c', 'cancelled') !== undefined);
    release.resolve();
    await center.until(() => center.find('job-a', 'succeeded') !== undefined);
    expect(ran).to.deep.equal(['job-a']);
    expect(center.of('job-c')).to.deep.equal(['cancelled']);
  });

  it('stops an older attempt, waits for its end, and passes its checkpoint to the newer one', async () => {
    const running = deferred();
    const order: string[] = [];
    await start({
      run: async (context) => {
        order.push(`run ${context.attempt} ${JSON.stringify(context.lastCheckpoint)}`);
        if (context.attempt === 2) return RESULT;
        await context.checkpoint({ step: 7 });
        running.resolve();
        await untilAborted(context.signal).finally(() => order.push(`end 1 ${(context.signal.reason as { code: string }).code}`));
        return RESULT;
      },
    });
    await center.run('job-a', 1);
    await running.promise;
    const second = await center.run('job-a', 2);
    await center.until(() => center.find('job-a', 'succeeded') !== undefined);
    expect(order).to.deep.equal(['run 1 null', 'end 1 fenced', 'run 2 {"step":7}']);
    await center.sendRaw('run', { ...second, id: 'old', attempt: 1 });
    await center.run('job-b', 2);
    await center.until(() => center.find('job-b', 'succeeded') !== undefined);
    expect(order).to.have.length(4);
    expect(center.of('job-a', 1)).to.not.include.members(['succeeded', 'failed', 'cancelled']);
  });

  it('drops an attempt whose commit the center refuses, without a word, and still answers a cancel of it', async () => {
    let cleaned = 0;
    const ended = deferred();
    center.granting = false;
    await start({
      run: async (context) => {
        try {
          await context.requestCommit(RESULT);
        } finally {
          ended.resolve();
        }
        return RESULT;
      },
      cleanUp: async () => {
        cleaned++;
      },
    });
    await center.run('job-a');
    await ended.promise;
    expect(cleaned).to.equal(0);
    await center.send('cancel', 'job-a', 1, { reason: 'by hand' });
    await center.until(() => center.find('job-a', 'cancelled') !== undefined);
    expect(cleaned).to.equal(1);
  });

  it('lets a job run through when Redis loses everything in the middle, and queues again what waited', async () => {
    const redis = new Redis(REDIS_URL ?? '');
    const running = deferred();
    const release = deferred();
    const runs: string[] = [];
    try {
      await start({
        concurrency: 1,
        run: async ({ jobId }) => {
          runs.push(jobId);
          running.resolve();
          await release.promise;
          return RESULT;
        },
      });
      await center.run('job-a');
      await running.promise;
      await center.run('job-b');
      await center.until(() => center.find('job-b', 'accepted') !== undefined);
      await redis.flushall();
      release.resolve();
      await center.until(
        () => center.find('job-a', 'succeeded') !== undefined && center.find('job-b', 'succeeded') !== undefined,
      );
      expect(runs).to.deep.equal(['job-a', 'job-b']);
    } finally {
      redis.disconnect();
    }
  });

  it('sends an event again until a center has it', async () => {
    center.answersHave = false;
    await start({ run: async () => RESULT });
    await center.run('job-a');
    await center.until(() => center.find('job-a', 'succeeded') !== undefined);
    expect(center.repeats).to.equal(0);
    await center.until(() => center.repeats === 3);
    for (const event of center.events) center.have(event);
    const syncs = center.syncs;
    await center.send('sync', 'job-x', 1, {});
    await center.until(() => center.syncs > syncs);
    expect(center.of('job-a')).to.deep.equal(['accepted', 'running', 'succeeded']);
  });

  it('goes on after a stop where it stood', async () => {
    const running = deferred();
    const seen: unknown[] = [];
    const toy: Toy = {
      run: async (context) => {
        seen.push(context.lastCheckpoint);
        if (seen.length === 2) return RESULT;
        await context.checkpoint({ at: 1 });
        running.resolve();
        return await untilAborted(context.signal);
      },
    };
    const stop = await start(toy);
    await center.run('job-a');
    await running.promise;
    await stop();
    await start(toy);
    await center.until(() => center.find('job-a', 'succeeded') !== undefined);
    expect(seen).to.deep.equal([null, { at: 1 }]);
    const again = center.events
      .filter(({ type }) => type === 'running')
      .map(({ payload }) => (payload as { resumed: boolean }).resumed);
    expect(again).to.deep.equal([false, true]);
  });

  it('waits with a commit that was granted until it has its lease', async () => {
    center.leaseMs = 0;
    let asked = false;
    await start({
      run: async (context) => {
        await context.requestCommit(RESULT);
        asked = true;
        context.assertLease();
        return RESULT;
      },
    });
    await center.run('job-a');
    await center.until(() => center.prepares > 0);
    expect(asked).to.equal(false);
    center.leaseMs = 10_000;
    await center.until(() => center.find('job-a', 'succeeded') !== undefined);
  });

  it('lets a job that deletes without leave to commit wait for its lease', async () => {
    center.leaseMs = 0;
    const waiting = deferred();
    await start({
      run: async (context) => {
        waiting.resolve();
        await context.awaitLease();
        context.assertLease();
        return RESULT;
      },
    });
    await center.run('job-a');
    await waiting.promise;
    center.leaseMs = 10_000;
    await center.until(() => center.find('job-a', 'succeeded') !== undefined);
    expect(center.of('job-a')).to.deep.equal(['accepted', 'running', 'succeeded']);
  });

  it('is told the key of pool tokens, and a new one with the next sync', async () => {
    const [first, second] = [deferred<string>(), deferred<string>()];
    center.poolTokenKey = 'one';
    await start({ run: async () => RESULT }, REDIS_URL, (key) => (key === 'one' ? first : second).resolve(key));
    expect(await first.promise).to.equal('one');
    center.poolTokenKey = 'two';
    await center.send('sync', 'job-x', 1, {});
    expect(await second.promise).to.equal('two');
  });

  it('is told the limits with each sync', async () => {
    const [first, second] = [deferred(), deferred()];
    const limits = { bandwidth: 1000, pools: [{ pool_id: 'pool-1', bandwidth: 10 }] };
    center.limits = limits;
    const options = { natsUrl: nats.url, redisUrl: REDIS_URL ?? '', nodeId: center.nodeId, dataDir: dir.path };
    const onLimits = (given: typeof center.limits) => {
      if (given.bandwidth === null) second.resolve();
      else if (JSON.stringify(given) === JSON.stringify(limits)) first.resolve();
    };
    stops.push((await startToyNode({ ...options, toy: { run: async () => RESULT }, onLimits })).stop);
    await first.promise;
    center.limits = { bandwidth: null, pools: [] };
    await center.send('sync', 'job-x', 1, {});
    await second.promise;
  });

  it('gets a lease that has ended back from a sync alone, after what that says of its attempts', async () => {
    center.leaseMs = 1;
    const running = deferred();
    const ended = deferred<string>();
    await start({
      run: async (context) => {
        running.resolve();
        // The lease is there at no time before the verdict is.
        while (!context.signal.aborted) {
          try {
            context.assertLease();
            ended.resolve('leased');
          } catch {
            await new Promise((resolve) => setTimeout(resolve, 1));
          }
        }
        ended.resolve((context.signal.reason as { code: string }).code);
        throw context.signal.reason;
      },
    });
    await center.run('job-a');
    await running.promise;
    const heartbeats = center.heartbeats;
    await center.until(() => center.heartbeats > heartbeats);
    center.verdict = 'abort';
    center.leaseMs = 10_000;
    expect(await ended.promise).to.equal('fenced');
  });

  it('commits nothing past its lease', async () => {
    center.leaseMs = 1;
    let error: unknown;
    await start({
      run: async (context) => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        try {
          context.assertLease();
        } catch (thrown) {
          error = thrown;
          throw new PermanentError('tested', 'Tested.');
        }
        return RESULT;
      },
    });
    await center.run('job-a');
    await center.until(() => center.find('job-a', 'failed') !== undefined);
    expect(error).to.have.property('code', 'fenced');
    expect(String(error)).to.include('lease lost');
  });

  it('asks for its consumer again when the stream is gone', async () => {
    await start({ run: async () => RESULT });
    await center.run('job-a');
    await center.until(() => center.find('job-a', 'succeeded') !== undefined);
    const syncs = center.syncs;
    await center.wipe();
    await center.until(() => center.syncs > syncs);
    await center.run('job-b');
    await center.until(() => center.find('job-b', 'succeeded') !== undefined);
  });

  it('stops what the center calls void', async () => {
    const running = deferred();
    const ended = deferred<unknown>();
    await start({
      run: async ({ signal }) => {
        running.resolve();
        return await untilAborted(signal).finally(() => ended.resolve(signal.reason));
      },
    });
    await center.run('job-a');
    await running.promise;
    center.verdict = 'abort';
    await center.send('sync', 'job-x', 1, {});
    expect(await ended.promise).to.have.property('code', 'fenced');
  });

  it('refuses a data directory that another node uses', async () => {
    await start({ run: async () => RESULT });
    let code = '';
    await start({ run: async () => RESULT }).catch((error: { code: string }) => {
      code = error.code;
    });
    expect(code).to.equal('data_dir_in_use');
  });

  it('loses nothing while NATS is away', async () => {
    const running = deferred();
    const release = deferred();
    await start({
      run: async (context) => {
        running.resolve();
        await release.promise;
        context.progress(PROGRESS);
        await context.checkpoint({});
        await context.requestCommit(RESULT);
        return RESULT;
      },
    });
    await center.run('job-a');
    await running.promise;
    await nats.down();
    release.resolve();
    await nats.up();
    await center.until(() => center.find('job-a', 'succeeded') !== undefined);
    await center.run('job-b');
    await center.until(() => center.find('job-b', 'succeeded') !== undefined);
  });

  it('accepts commands while Redis is away, lets what runs end, and runs the rest when an empty Redis is back', async () => {
    const redis = await RedisServer.start();
    try {
      const running = deferred();
      const release = deferred();
      await start(
        {
          run: async ({ jobId }) => {
            if (jobId !== 'job-a') return RESULT;
            running.resolve();
            await release.promise;
            return RESULT;
          },
        },
        redis.url,
      );
      await center.run('job-a');
      await running.promise;
      await redis.down();
      await center.run('job-b');
      release.resolve();
      await center.until(() => center.find('job-b', 'accepted') !== undefined && center.find('job-a', 'succeeded') !== undefined);
      await center.send('cancel', 'job-c', 1, { reason: 'by hand' });
      await center.until(() => center.find('job-c', 'cancelled') !== undefined);
      await redis.up();
      await center.until(() => center.find('job-b', 'succeeded') !== undefined);
    } finally {
      for (const stop of stops.splice(0)) await stop();
      await redis.down();
    }
  });
});
