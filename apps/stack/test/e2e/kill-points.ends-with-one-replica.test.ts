/**
 * SIGKILL at each named step of a job's way. Whoever dies and wherever: one committed replica, equal bytes, and the
 * node's and the center's books agree. The process kills itself at the step
 * (OPENSERVICE_FAILPOINTS).
 */
import { expect } from 'chai';
import { fileDigest } from './disk.ts';
import { diskFile, imported, localPool, restoredFile, s3Pool, startAction, startImport } from './steps.ts';
import { type System, startSystem } from './system.ts';

const NODE_STEPS = [
  ['agent.journalled', 'after the journal, before the ack'],
  ['agent.acked', 'after the ack'],
  ['agent.checkpointed', 'after a checkpoint'],
  ['agent.prepared', 'after prepared, before asking for leave to commit'],
  ['agent.granted', 'after the grant, before the commit'],
  ['agent.committed', 'after the commit, before the result is journalled'],
  ['agent.result-journalled', 'after the result is journalled, before the event'],
] as const;

const CENTER_STEPS = [
  ['center.published', 'after publishing the command, before marking it'],
  ['center.prepared', 'after granting the commit, before the answer'],
  ['center.ingested', 'after ingesting an event, before its ack'],
] as const;

describe('a job whose node or center is killed', function () {
  this.timeout(120_000);
  let system: System;
  let local: { id: string; path: string };

  before(async () => {
    system = await startSystem({ nodes: 1, armed: [...NODE_STEPS, ...CENTER_STEPS].map(([step]) => step) });
    local = await localPool(system);
  });
  after(async () => system?.stop());

  async function replicaStates(blockId: string): Promise<string[]> {
    const { body } = await system.api.ok('GET', `/blocks/${blockId}`);
    return (body.block.replicas as { state: string }[]).map((replica) => replica.state);
  }

  for (const [step, words] of NODE_STEPS) {
    it(`ends with one committed replica and equal bytes: import, node killed ${words}`, async () => {
      const path = await diskFile(system, 24, { tail: 517, seed: step });
      const node = system.nodes[0]!;
      await system.arm(step);
      const { blockId, jobId } = await startImport(system, local.id, path);
      expect(await node.ended).to.equal('SIGKILL');
      node.start();
      const job = await system.api.succeeded(jobId);
      expect(job.bytes_done).to.equal(job.bytes_total);
      expect(await replicaStates(blockId)).to.deep.equal(['available']);
      expect(await fileDigest(`${local.path}/blocks/${blockId}/disk.raw`)).to.equal(await fileDigest(path));
    });

    it(`ends with one committed replica and equal bytes: upload, node killed ${words}`, async () => {
      const path = await diskFile(system, 40, { seed: step });
      const blockId = await imported(system, local.id, path);
      const remote = await s3Pool(system);
      const node = system.nodes[0]!;
      await system.arm(step);
      const jobId = await startAction(system, blockId, 'upload', { pool_id: remote });
      expect(await node.ended).to.equal('SIGKILL');
      node.start();
      await system.api.succeeded(jobId);
      expect(await replicaStates(blockId)).to.deep.equal(['available', 'available']);
      const back = await restoredFile(system, blockId, remote);
      expect(await fileDigest(back)).to.equal(await fileDigest(path));
    });
  }

  for (const [step, words] of CENTER_STEPS) {
    it(`ends with one committed replica and equal bytes: center killed ${words}`, async () => {
      const path = await diskFile(system, 24, { seed: step });
      await system.arm(step);
      const { blockId, jobId } = await startImport(system, local.id, path);
      expect(await system.center.ended).to.equal('SIGKILL');
      system.center.start();
      await system.ready();
      await system.api.succeeded(jobId);
      expect(await replicaStates(blockId)).to.deep.equal(['available']);
      expect(await fileDigest(`${local.path}/blocks/${blockId}/disk.raw`)).to.equal(await fileDigest(path));
    });
  }
});
