/** What a node may have at a time, and how fast: set over the API, kept by relay and node. */
import { waitFor } from '@openservice/testkit';
import { expect } from 'chai';
import { connect, type NatsConnection } from 'nats';
import { SHORT_TIMES } from './control.ts';
import { diskFile, imported, localPool, startAction, startImport } from './steps.ts';
import { type System, startSystem } from './system.ts';

const MIB = 1024 * 1024;

describe('limits of a node', function () {
  this.timeout(180_000);
  let system: System;
  let nats: NatsConnection;
  let local: string;

  before(async () => {
    system = await startSystem({ nodes: 1, center: SHORT_TIMES });
    nats = await connect({ servers: system.servers.nats.url });
    local = (await localPool(system)).id;
  });
  after(async () => {
    await nats?.close();
    await system?.stop();
  });

  const limit = (body: unknown) => system.api.ok('POST', '/nodes/node-1?action=limit', body);

  it('max_jobs: one at a time, by priority, then age; those that wait say what for', async () => {
    const blocks: string[] = [];
    for (let i = 0; i < 4; i++) blocks.push(await imported(system, local, await diskFile(system, 9, { seed: `limit-${i}` })));
    await limit({ max_jobs: 1 });
    const ids: string[] = [];
    for (const [i, priority] of [5, 9, 1, 5].entries())
      ids.push(await startAction(system, blocks[i] ?? '', 'verify', { priority, bandwidth: 3_000_000 }));
    const waiting = await system.api.job(ids[1] ?? '');
    expect((waiting as unknown as { waiting_for: string }).waiting_for).to.include('node node-1 takes 1 at a time');
    const jobs = [];
    for (const id of ids) jobs.push(await system.api.succeeded(id, 120_000));
    const order = jobs.toSorted((a, b) => Date.parse(a.started_at ?? '') - Date.parse(b.started_at ?? ''));
    expect(order.map(({ id }) => ids.indexOf(id))).to.deep.equal([0, 2, 3, 1]);
    for (const [i, job] of order.entries()) {
      const before = order[i - 1];
      if (before !== undefined)
        expect(Date.parse(job.started_at ?? '')).to.be.at.least(
          Date.parse(before.finished_at ?? ''),
          'one ended before the next began',
        );
    }
    await limit({ max_jobs: null });
  });

  it('bandwidth: all jobs of the node together, from its next sync on', async () => {
    const paths = [await diskFile(system, 18, { seed: 'wide-1' }), await diskFile(system, 18, { seed: 'wide-2' })];
    const rate = 4_000_000;
    const syncs = nats.subscribe('openservice.v1.rpc.center.node-1.sync');
    await nats.flush();
    await limit({ bandwidth: rate });
    await waitFor('a sync of the node', () => syncs.getReceived() > 0, 30_000);
    // The one after it begins only when the first has been answered and acted upon.
    await limit({ bandwidth: rate });
    await waitFor('another one', () => syncs.getReceived() > 1, 30_000);
    syncs.unsubscribe();
    const begun = performance.now();
    const jobs = await Promise.all(paths.map((path) => startImport(system, local, path)));
    for (const { jobId } of jobs) await system.api.succeeded(jobId, 120_000);
    const seconds = (performance.now() - begun) / 1000;
    const data = 2 * 12 * MIB;
    console.log(`    ${(data / seconds / 1e6).toFixed(1)} MB/s of ${rate / 1e6}`);
    // A bucket may be full at the start: a second's worth.
    expect(data / seconds).to.be.lessThan(rate * 1.5);
    await limit({ bandwidth: null });
  });
});
