/** A block from any pool is a live disk: read, written, kept over a killed node, saved, rewound, taken away. */
import { readFile } from 'node:fs/promises';
import { needsPeers } from '@openservice/testkit';
import { expect } from 'chai';
import { fileDigest } from './disk.ts';
import { acted, content, io, loaded, removed } from './live.ts';
import { dedupPool, remotePool } from './pairs.ts';
import { diskFile, imported, localPool, restoredFile, s3Pool } from './steps.ts';
import { type System, startSystem } from './system.ts';

describe('instances are live disks', function () {
  this.timeout(120_000);
  let system: System;
  let pools: Record<string, string>;
  let path: string;
  let digest: string;

  before(needsPeers('nbdcopy', 'nbdinfo', 'qemu-io'));
  before(async () => {
    system = await startSystem({ nodes: 2 });
    pools = {
      local: (await localPool(system, 1)).id,
      dedup: await dedupPool(system, 1),
      s3: await s3Pool(system),
      remote: await remotePool(system, 2),
    };
    path = await diskFile(system, 20, { tail: 4096 + 517, seed: 'instances' });
    digest = await fileDigest(path);
  });
  after(async () => system?.stop());

  for (const type of ['local', 'dedup', 's3', 'remote']) {
    it(`${type}: read as it is, written, kept over a killed node, saved, rewound`, async () => {
      const out = `${path}.out`;
      const blockId = await imported(system, pools[type]!, path);
      const { id, disks } = await loaded(system, { block_id: blockId, name: `live-${type}` });
      const [disk] = disks;
      expect(await content(disk.uri, out)).to.equal(digest);
      expect(await content(disk.unix_uri, out)).to.equal(digest);
      await io(disk.uri, 'write -P 0xaa 1000 70000', 'write -z 5M 1M', 'discard 8M 1M', 'flush', 'read -P 0xaa 1000 70000');
      await system.nodes[0]!.kill();
      system.nodes[0]!.start();
      await system.ready();
      await io(disk.uri, 'read -P 0xaa 1000 70000', 'read -P 0 5M 1M', 'read -P 0 8M 1M');
      const { jobId, blocks } = await acted(system, id, 'save', { name: `saved-${type}` });
      await system.api.succeeded(jobId);
      const saved = await restoredFile(system, blocks[0]!, pools[type]!);
      const bytes = await readFile(saved);
      const was = await readFile(path);
      was
        .fill(0xaa, 1000, 71_000)
        .fill(0, 5 << 20, 6 << 20)
        .fill(0, 8 << 20, 9 << 20);
      expect(bytes.equals(was)).to.equal(true);
      const refused = await system.api.delete(`/blocks/${blockId}`);
      expect(refused.status).to.equal(409);
      expect(refused.body.instance_id).to.equal(id);
      await system.api.succeeded((await acted(system, id, 'rewind')).jobId);
      expect(await content(disk.uri, out)).to.equal(digest);
      await removed(system, id);
      expect((await system.api.delete(`/blocks/${blockId}?purge=true`)).status).to.equal(202);
    });
  }
});
