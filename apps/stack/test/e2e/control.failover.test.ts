/** A node that dies, or is only stopped for too long: its job ends on the other node, once, whatever the first still tries. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, commandSchema, decodeJson } from '@openservice/protocol';
import { callCenter } from '@openservice/runtime';
import { waitFor } from '@openservice/testkit';
import { expect } from 'chai';
import { connect } from 'nats';
import type { Job } from './api.ts';
import { nodesOf, notes, SHORT_TIMES, type Slow, slowCopy, underWay } from './control.ts';
import { fileDigest } from './disk.ts';
import { restoredFile } from './steps.ts';
import { type System, startSystem } from './system.ts';

describe('a job whose node is gone', function () {
  this.timeout(240_000);
  let system: System;

  before(async () => {
    system = await startSystem({ nodes: 2, center: SHORT_TIMES, armed: ['agent.granted'] });
  });
  after(async () => system?.stop());

  const replicas = async (blockId: string) =>
    ((await system.api.ok('GET', `/blocks/${blockId}`)).body.block.replicas as { pool_id: string; state: string }[]).map(
      ({ state }) => state,
    );
  const nodeWhen = (node: string, state: string) =>
    system.api.until(`/openstore_v1/nodes/${node}`, ({ body }) => body.node?.state === state, 60_000);
  const commits = (job: Job) =>
    (job.history ?? []).filter(({ to_state, from_state }) => to_state === 'succeeded' && from_state !== to_state);

  /** What its node logs of an attempt that the center, or its own lease, has made void. */
  const isDropped = (log: string, jobId: string) =>
    log.split('\n').some((line) => line.includes(jobId) && /is void|"verdict":"(abort|forget)"/.test(line));

  async function isWholeOnce(slow: Slow, job: Job): Promise<void> {
    expect(commits(job)).to.have.length(1);
    expect(await replicas(slow.blockId)).to.deep.equal(['available', 'available', 'available']);
    expect(await fileDigest(await restoredFile(system, slow.blockId, slow.to))).to.equal(await fileDigest(slow.path));
  }

  it('for good (SIGKILL) ends on the other one, from what the target pool holds', async () => {
    const slow = await slowCopy(system);
    const { has, other } = nodesOf(system, await underWay(system, slow.jobId));
    await has.kill('SIGKILL');
    const job = await system.api.succeeded(slow.jobId, 120_000);
    expect(job).to.include({ node_id: other.name, attempt: 2 });
    expect(notes(job).join('\n')).to.match(/has not been heard of for \d+ s\. Attempt 2 goes from node/);
    expect(job.bytes_sent).to.be.lessThan(job.bytes_total);
    has.start();
    await system.ready();
    await isWholeOnce(slow, await system.api.job(slow.jobId));
  });

  it('for longer than its lease (SIGSTOP) ends on the other one; it comes back, is told to forget, and its late commit is refused', async () => {
    const nats = await connect({ servers: system.servers.nats.url });
    const runs = nats.subscribe('openservice.v1.cmd.*.run');
    const slow = await slowCopy(system);
    const { has, other } = nodesOf(system, await underWay(system, slow.jobId));
    process.kill(has.pid, 'SIGSTOP');
    const job = await system.api.succeeded(slow.jobId, 120_000);
    expect(job).to.include({ node_id: other.name, attempt: 2 });
    process.kill(has.pid, 'SIGCONT');
    await nodeWhen(has.name, 'online');
    const log = join(system.dir, `${has.name}.log`);
    await waitFor('the old attempt to be dropped', async () => isDropped(await readFile(log, 'utf8'), slow.jobId), 30_000);

    runs.unsubscribe();
    const commands: Command[] = [];
    for await (const { data } of runs) commands.push(commandSchema.parse(decodeJson(data)));
    const first = commands.find((one) => one.type === 'run' && one.job_id === slow.jobId && one.attempt === 1);
    if (first?.type !== 'run') throw new Error('The first command was not seen.');
    const { fence } = first.payload;
    const result = { root_digest: null, size: null, replicas: [], verified: false, progress: null, damage: [] };
    const request = { job_id: slow.jobId, attempt: 1, fence, result };
    const reply = await callCenter(nats, has.name, 'prepare', request, { timeoutMs: 5_000 });
    await nats.close();
    expect(reply.granted).to.equal(false);
    await isWholeOnce(slow, await system.api.job(slow.jobId));
  });

  it('after it was let through to commit ends on the other one, and what it tries when it is back changes nothing', async () => {
    const slow = await slowCopy(system);
    const { has, other } = nodesOf(system, await underWay(system, slow.jobId));
    await system.arm('agent.granted');
    expect(await has.ended).to.equal('SIGKILL');
    expect((await system.api.job(slow.jobId)).state).to.equal('committing');
    const job = await system.api.succeeded(slow.jobId, 120_000);
    expect(job).to.include({ node_id: other.name, attempt: 2 });
    has.start();
    await system.ready();
    await isWholeOnce(slow, await system.api.job(slow.jobId));
  });
});
