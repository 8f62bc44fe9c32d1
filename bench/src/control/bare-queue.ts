/** The peer of dispatch: BullMQ and nothing else, a queue and a worker in one process; asked for a number of jobs, answers how many ms they took. */
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { serveBench } from './child.ts';
import { inFlight } from './in-flight.ts';

const { BENCH_REDIS = '', BENCH_CONCURRENCY = '' } = process.env;
const KEEP = { count: 1000 };
const concurrency = Number(BENCH_CONCURRENCY);
const prefix = 'bench-bare';
const connection = new Redis(BENCH_REDIS, { maxRetriesPerRequest: null });
let ended = 0;
let done: () => void = () => undefined;
let wanted = 0;
const queue = new Queue('empty', { connection, prefix, defaultJobOptions: { removeOnComplete: KEEP, removeOnFail: KEEP } });
const worker = new Worker('empty', async () => 'succeeded', { connection, prefix, concurrency, removeOnComplete: KEEP });
worker.on('completed', () => {
  ended++;
  if (ended === wanted) done();
});
worker.on('error', (error) => process.stderr.write(`${error.message}\n`));
await worker.waitUntilReady();

serveBench(
  async ({ jobs, clients }: { jobs: number; clients: number }) => {
    ended = 0;
    wanted = jobs;
    const all = new Promise<void>((resolve) => {
      done = resolve;
    });
    const since = performance.now();
    await inFlight(
      jobs,
      clients,
      async (i) => void (await queue.add('empty', { job_id: `job-${i}`, attempt: 1, kind: 'empty' })),
    );
    await all;
    return performance.now() - since;
  },
  async () => {
    await worker.close(true);
    await queue.obliterate({ force: true });
    await queue.close();
    connection.disconnect();
  },
);
