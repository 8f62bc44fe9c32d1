/**
 * SIGKILL of the node at each named step of a job on an instance, and between what a client was told is safe and its reading back. Whenever it
 * dies: what was flushed is there, and the job ends as it would have.
 */
import { readFile } from 'node:fs/promises';
import { needsPeers } from '@openservice/testkit';
import { expect } from 'chai';
import { acted, exec, io, type Live, loaded, removed, shown } from './live.ts';
import { dedupPool } from './pairs.ts';
import { diskFile, imported, localPool, restoredFile } from './steps.ts';
import { type System, startSystem } from './system.ts';

const STEPS = [
  'agent.journalled',
  'agent.checkpointed',
  'agent.prepared',
  'agent.granted',
  'agent.committed',
  'agent.result-journalled',
] as const;
type Step = (typeof STEPS)[number];
/** Steps that the kind has; load and a plain unload checkpoint nothing. */
const without = (...out: Step[]): Step[] => STEPS.filter((step) => !out.includes(step));

describe('an instance whose node is killed', function () {
  this.timeout(120_000);
  let system: System;
  let local: string;
  let dedup: string;
  let path: string;
  let image: Buffer;

  before(needsPeers('qemu-io', 'nbdcopy'));
  before(async () => {
    system = await startSystem({ nodes: 1 });
    local = (await localPool(system)).id;
    dedup = await dedupPool(system);
    path = await diskFile(system, 8, { tail: 512, seed: 'kills' });
    image = await readFile(path);
  });
  after(async () => system?.stop());

  /** The node kills itself at the next pass of an armed step; then it is started again. */
  async function killedAt<T>(step: Step, begin: () => Promise<T>): Promise<T> {
    const node = system.nodes[0]!;
    await node.restart({ OPENSERVICE_FAILPOINTS: `${step}=kill` });
    await system.ready();
    const begun = await begin();
    expect(await node.ended).to.equal('SIGKILL');
    node.start();
    await system.ready();
    return begun;
  }

  async function bytesOf(uri: string): Promise<Buffer> {
    const out = `${path}.out`;
    await exec('nbdcopy', [uri, out]);
    return readFile(out);
  }

  async function written(live: Live, pattern: number): Promise<Buffer> {
    await io(live.disks[0].unix_uri, `write -P ${pattern} 1000 70000`, 'flush');
    return Buffer.from(image).fill(pattern, 1000, 71_000);
  }

  for (const step of without('agent.checkpointed')) {
    it(`load, at ${step}: it is served`, async () => {
      const blockId = await imported(system, local, path);
      const { body } = await killedAt(step, () =>
        system.api.ok('PUT', '/cdm_instances', { block_id: blockId, node_id: 'node-1' }),
      );
      await system.api.succeeded(body['job-id']);
      const live = await shown(system, body['ins-id']);
      expect((await bytesOf(live.disks[0].uri)).equals(image)).to.equal(true);
      await removed(system, live.id);
    });
  }

  for (const step of STEPS) {
    it(`save, at ${step}: one block of one moment, and the instance goes on`, async () => {
      const live = await loaded(system, { block_id: await imported(system, local, path) });
      const expected = await written(live, 0x11);
      const { jobId, blocks } = await killedAt(step, () => acted(system, live.id, 'save', { pool_id: dedup }));
      await system.api.succeeded(jobId);
      const saved = await readFile(await restoredFile(system, blocks[0]!, dedup));
      expect(saved.equals(expected)).to.equal(true);
      expect((await bytesOf(live.disks[0].uri)).equals(expected)).to.equal(true);
      await removed(system, live.id);
    });

    it(`unload that saves, at ${step}: the block holds all that was written, the instance is gone`, async () => {
      const live = await loaded(system, { block_id: await imported(system, local, path) });
      const expected = await written(live, 0x22);
      const { body } = await killedAt(step, () => system.api.ok('DELETE', `/cdm_instances/${live.id}?save=true`));
      await system.api.succeeded(body['job-id']);
      const saved = await readFile(await restoredFile(system, body['block-ids'][0], local));
      expect(saved.equals(expected)).to.equal(true);
      expect((await system.api.get(`/cdm_instances/${live.id}`)).status).to.equal(404);
      await exec('qemu-io', ['-r', '-f', 'raw', '-c', 'read 0 512', live.disks[0].uri]).then(
        () => expect.fail('it is still served'),
        () => undefined,
      );
    });

    it(`rewind, at ${step}: it is its block again`, async () => {
      const live = await loaded(system, { block_id: await imported(system, local, path) });
      await written(live, 0x33);
      const { jobId } = await killedAt(step, () => acted(system, live.id, 'rewind'));
      await system.api.succeeded(jobId);
      const again = await shown(system, live.id);
      expect((await bytesOf(again.disks[0].uri)).equals(image)).to.equal(true);
      await removed(system, live.id);
    });

    it(`hydrate, at ${step}: it reads from the near pool`, async () => {
      const live = await loaded(system, { block_id: await imported(system, local, path) });
      const expected = await written(live, 0x44);
      const { jobId } = await killedAt(step, () => acted(system, live.id, 'hydrate', { pool_id: dedup }));
      await system.api.succeeded(jobId);
      const again = await shown(system, live.id);
      expect(again.disks[0].pool_id).to.equal(dedup);
      expect((await bytesOf(again.disks[0].uri)).equals(expected)).to.equal(true);
      await removed(system, live.id);
    });
  }

  it('keeps what was flushed, and what was written with FUA, through both sockets', async () => {
    const node = system.nodes[0]!;
    const live = await loaded(system, { block_id: await imported(system, local, path) });
    const { uri, unix_uri } = live.disks[0];
    let offset = 0;
    for (const [i, over] of [uri, unix_uri, uri, unix_uri].entries()) {
      const pattern = 0x51 + i;
      // -f: FUA, with nothing flushed after it.
      await io(over, `write -P ${pattern} ${offset} 100000`, 'flush', `write -f -P ${pattern} ${offset + 200_000} 777`);
      await node.kill();
      node.start();
      await system.ready();
      await io(i % 2 === 0 ? unix_uri : uri, `read -P ${pattern} ${offset} 100000`, `read -P ${pattern} ${offset + 200_000} 777`);
      offset += 300_001;
    }
    // All of it still, after all of the kills.
    for (let i = 0; i < 4; i++) await io(uri, `read -P ${0x51 + i} ${i * 300_001} 100000`);
    await removed(system, live.id);
  });
});
