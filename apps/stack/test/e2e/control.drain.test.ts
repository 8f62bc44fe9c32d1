/** A node is taken out of service under load: its job moves to the other node and goes on from what the target pool holds. */
import { expect } from 'chai';
import { nodesOf, notes, slowCopy, slowUpload, underWay } from './control.ts';
import { fileDigest } from './disk.ts';
import { restoredFile } from './steps.ts';
import { type System, startSystem } from './system.ts';

describe('a node that is drained', function () {
  this.timeout(240_000);
  let system: System;

  before(async () => {
    system = await startSystem({ nodes: 2 });
  });
  after(async () => system?.stop());

  const act = (node: string, action: string) => system.api.ok('POST', `/nodes/${node}?action=${action}`);
  const nodeWhen = (node: string, state: string) =>
    system.api.until(`/openstore_v1/nodes/${node}`, ({ body }) => body.node?.state === state, 120_000);

  it('gives its job back at a checkpoint; the other node resumes it there', async () => {
    const { jobId, blockId, to, path } = await slowCopy(system);
    const before = await underWay(system, jobId);
    const { has, other } = nodesOf(system, before);
    const answer = await act(has.name, 'drain');
    expect(answer.body.node.state).to.equal('draining');
    expect(answer.body.instances).to.deep.equal([]);
    await nodeWhen(has.name, 'drained');
    const job = await system.api.succeeded(jobId, 120_000);
    expect(job).to.include({ node_id: other.name, attempt: 2 });
    expect(notes(job).join('\n')).to.include(
      `Attempt 1 was given back by node ${has.name}; the next goes to node ${other.name}.`,
    );
    expect(job.bytes_sent, 'what the pool had is not sent again').to.be.lessThan(job.bytes_total);
    expect(
      (await system.api.put('/pools', { type: 'local', name: 'none', node_id: has.name, path: '/nowhere' })).body.code,
    ).to.equal('node_draining');
    await act(has.name, 'activate');
    await nodeWhen(has.name, 'online');
    expect(await fileDigest(await restoredFile(system, blockId, to))).to.equal(await fileDigest(path));
  });

  it('ends a job that no other node can do, and is drained then', async () => {
    const { jobId } = await slowUpload(system);
    await underWay(system, jobId);
    await act('node-1', 'drain');
    const job = await system.api.succeeded(jobId, 120_000);
    expect(job).to.include({ node_id: 'node-1', attempt: 1 });
    await nodeWhen('node-1', 'drained');
    await act('node-1', 'activate');
  });
});
