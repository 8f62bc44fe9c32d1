/** A job stands still at its checkpoint for as long as somebody wants, whatever happens to its node meanwhile, and goes on from there. */
import { expect } from 'chai';
import { slowUpload, underWay } from './control.ts';
import { fileDigest } from './disk.ts';
import { diskFile, imported, localPool, restoredFile, s3Pool, startAction } from './steps.ts';
import { type System, startSystem } from './system.ts';

describe('a job that is paused', function () {
  this.timeout(180_000);
  let system: System;

  before(async () => {
    system = await startSystem({ nodes: 1 });
  });
  after(async () => system?.stop());

  const pause = (jobId: string) => system.api.ok('POST', `/jobs/${jobId}?action=pause`);
  const whenPaused = (jobId: string) => system.api.jobWhen(jobId, ({ state }) => state === 'paused');

  it('keeps its place over a kill of its node, lets others work, and goes on where it was', async () => {
    const { jobId, blockId, to, path } = await slowUpload(system);
    await underWay(system, jobId);
    expect((await pause(jobId)).status).to.equal(202);
    expect((await system.api.ok('GET', `/jobs/${jobId}`)).body.job.pause_requested).to.equal(true);
    const stopped = await whenPaused(jobId);
    expect(stopped.bytes_done).to.be.greaterThan(0).and.lessThan(stopped.bytes_total);

    const { id: local } = await localPool(system);
    const small = await imported(system, local, await diskFile(system, 9));
    await system.api.succeeded(await startAction(system, small, 'upload', { pool_id: await s3Pool(system) }));

    await system.nodes[0]!.restart();
    await system.ready();
    expect(await system.api.job(jobId)).to.include({ state: 'paused', attempt: 1, bytes_done: stopped.bytes_done });

    expect((await system.api.ok('POST', `/jobs/${jobId}?action=resume`)).status).to.equal(202);
    const job = await system.api.succeeded(jobId);
    expect(job.attempt).to.equal(1);
    expect(job.bytes_done).to.equal(job.bytes_total);
    expect(job.bytes_sent, 'what was stored is not sent again').to.be.lessThan(job.bytes_total);
    const states = job.history?.map(({ to_state }) => to_state) ?? [];
    expect(states.indexOf('paused')).to.be.lessThan(states.lastIndexOf('running'));
    expect(await fileDigest(await restoredFile(system, blockId, to))).to.equal(await fileDigest(path));
  });

  it('is cancelled by its node, which leaves nothing', async () => {
    const { jobId, blockId, to } = await slowUpload(system);
    await underWay(system, jobId);
    await pause(jobId);
    await whenPaused(jobId);
    await system.api.ok('POST', `/jobs/${jobId}?action=cancel`);
    expect((await system.api.ended(jobId)).state).to.equal('cancelled');
    const { replicas } = (await system.api.ok('GET', `/blocks/${blockId}`)).body.block;
    expect((replicas as { pool_id: string }[]).map(({ pool_id }) => pool_id)).not.to.include(to);
    expect((await system.api.post(`/jobs/${jobId}?action=resume`, undefined)).status).to.equal(409);
  });
});
