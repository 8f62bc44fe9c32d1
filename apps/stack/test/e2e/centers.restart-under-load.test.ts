/** Centers are restarted, killed and stopped in turn while jobs are submitted and run: what was accepted ends, once. */
import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import { type Centers, startCenters } from './centers.ts';
import { diskFile, imported, localPool } from './steps.ts';

/** Clients that submit one job after the other. */
const CLIENTS = 4;

describe('centers that come and go under load', function () {
  this.timeout(300_000);
  let centers: Centers;

  before(async () => {
    centers = await startCenters({ nodes: 2 });
  });
  after(async () => centers?.stop());

  it('every accepted job is in the list, ends, and was done once, through restarts, kills and a center that stands still', async () => {
    const { system, processes, apis } = centers;
    const pool = await localPool(system);
    const source = await diskFile(system, 2, { tail: 99 });
    const verified = await imported(system, pool.id, source);
    const accepted: { jobId: string; blockId: string | null }[] = [];
    let stopped = false;

    const client = async (n: number): Promise<void> => {
      for (let i = 0; !stopped; i++) {
        if (i % 2 === 0) {
          const { body } = await centers.ask('PUT', '/blocks', {
            name: `block ${n}-${i}`,
            pool_id: pool.id,
            source: { type: 'file', node_id: 'node-1', path: source },
          });
          accepted.push({ jobId: body['job-id'], blockId: body['block-id'] });
        } else {
          const own = accepted.at(-1)?.blockId ?? verified;
          const state = (await centers.ask('GET', `/blocks/${own}`)).body.block.state;
          const { body } = await centers.ask('POST', `/blocks/${state === 'available' ? own : verified}?action=verify`, {}).catch(
            // Another client verifies it just now: refused, hence not accepted.
            (error: Error) =>
              /block_busy|block_not_available/.test(error.message)
                ? { body: {} as Record<string, string> }
                : Promise.reject(error),
          );
          if (body['job-id'] !== undefined) accepted.push({ jobId: body['job-id'], blockId: null });
        }
      }
    };
    const clients = Array.from({ length: CLIENTS }, (_, n) => client(n));
    const load = Promise.all(clients);
    load.catch(() => undefined);
    /** The load goes on: as many more were accepted. */
    const more = async (count: number): Promise<void> => {
      const until = accepted.length + count;
      const late = AbortSignal.timeout(120_000);
      while (accepted.length < until) {
        if (late.aborted) throw new Error(`Only ${accepted.length} of ${until} jobs were accepted.`);
        await Promise.race([load, new Promise((resolve) => setTimeout(resolve, 50))]);
      }
    };

    await more(4);
    for (const [i, center] of processes.entries()) {
      await center.kill('SIGTERM');
      expect(await center.ended, 'it stops cleanly').to.equal('exit 0');
      await more(4);
      center.start();
      await apis[i]!.until('/readyz', ({ status }) => status === 200);
    }
    for (const [i, center] of processes.entries()) {
      await center.kill('SIGKILL');
      await more(4);
      center.start();
      await apis[i]!.until('/readyz', ({ status }) => status === 200);
    }
    process.kill(processes[1].pid, 'SIGSTOP');
    try {
      await more(4);
    } finally {
      process.kill(processes[1].pid, 'SIGCONT');
    }
    await more(2);
    stopped = true;
    await load;

    const listed = new Set<string>();
    for (let marker = ''; ; ) {
      const { body } = await apis[0].ok('GET', `/jobs?limit=1000${marker === '' ? '' : `&marker=${marker}`}`);
      for (const { id } of body.jobs as { id: string }[]) listed.add(id);
      if (body.next_marker === null) break;
      marker = body.next_marker;
    }
    expect(new Set(accepted.map(({ jobId }) => jobId)).size, 'each answer named a job of its own').to.equal(accepted.length);
    // The first import of all was not a client's.
    expect(listed.size, 'a request that was asked again made no second job').to.equal(accepted.length + 1);
    for (const { jobId, blockId } of accepted) {
      expect(listed.has(jobId), jobId).to.equal(true);
      const job = await apis[1].ended(jobId, 120_000);
      expect(job.state, `${jobId}: ${JSON.stringify(job.error)}`).to.equal('succeeded');
      const ends = (job.history ?? []).filter(({ to_state, from_state }) => to_state === 'succeeded' && from_state !== to_state);
      expect(ends, 'it ended once').to.have.length(1);
      if (blockId === null) continue;
      const { block } = (await apis[0].ok('GET', `/blocks/${blockId}`)).body;
      expect([block.state, block.replicas.length]).to.deep.equal(['available', 1]);
    }
    const { pool: counted } = (await apis[0].ok('GET', `/pools/${pool.id}`)).body;
    expect(counted.block_count, 'counted once each').to.equal(1 + accepted.filter(({ blockId }) => blockId !== null).length);
  });

  it('both sides of a restart see the same: a stream of events goes on at the other center', async () => {
    const { system, processes, apis } = centers;
    const pool = await localPool(system);
    const source = await diskFile(system, 2);
    const token = (await readFile(`${system.dir}/center/token`, 'utf8')).trim();
    const ids: number[] = [];
    let last = '';
    const follow = async (api: (typeof apis)[number], untilEvent: string): Promise<void> => {
      const stop = new AbortController();
      const headers: Record<string, string> = {
        Authorization: `Bearer ${token}`,
        ...(last === '' ? {} : { 'Last-Event-ID': last }),
      };
      const answer = await fetch(`${api.url}/openstore_v1/events?type=job`, { headers, signal: stop.signal });
      let text = '';
      const decoder = new TextDecoder();
      try {
        for await (const part of answer.body!) {
          text += decoder.decode(part as Uint8Array, { stream: true });
          const frames = text.split('\n\n');
          text = frames.pop() ?? '';
          for (const frame of frames) {
            const id = /^id: (\d+)$/m.exec(frame)?.[1];
            if (id !== undefined) last = id;
            if (id !== undefined && frame.includes('data:')) ids.push(Number(id));
          }
          if (frames.some((frame) => frame.includes(untilEvent))) return;
        }
      } finally {
        stop.abort();
      }
    };
    const first = follow(apis[0], '"job.succeeded"');
    const before = (await centers.ask('PUT', '/blocks', blockOf(pool.id, source))).body['job-id'];
    await first;
    await apis[1].succeeded(before);
    await processes[0].kill('SIGTERM');
    const job = (await apis[1].ok('PUT', '/blocks', blockOf(pool.id, source))).body['job-id'];
    await follow(apis[1], `"job_id":"${job}"`);
    expect(ids, 'in order, none twice').to.deep.equal([...new Set(ids)].sort((a, b) => a - b));
    processes[0].start();
    await centers.ready();
    await apis[0].succeeded(job);
  });
});

let blocks = 0;
const blockOf = (pool: string, path: string) => ({
  name: `followed ${++blocks}`,
  pool_id: pool,
  source: { type: 'file', node_id: 'node-1', path },
});
