/** A block of any size is a live disk at once: nothing is copied, nothing that grows with the disk is read, and little memory is taken. */
import { execFile } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { needsPeers } from '@openservice/testkit';
import { expect } from 'chai';
import { imported, s3Pool } from './steps.ts';
import { type System, startSystem } from './system.ts';

const exec = promisify(execFile);
const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
/** Trials of each size, one after the other. */
const TRIALS = 5;
const LIMIT_MS = 1500;
const LOADED = 16;
const LIMIT_MIB = 500;

describe('a block in S3 is a live disk at once', function () {
  this.timeout(240_000);
  let system: System;
  let pool: string;

  before(needsPeers('qemu-io'));
  before(async () => {
    system = await startSystem({ nodes: 1 });
    pool = await s3Pool(system);
  });
  after(async () => system?.stop());

  /** 64 MiB of data, in 16 places over the whole disk. */
  async function sparseFile(name: string, size: number): Promise<string> {
    const path = join(system.importRoot(1), name);
    const file = await open(path, 'wx');
    await file.truncate(size);
    for (let i = 0; i < 16; i++) {
      const at = Math.floor(((size - 4 * MIB) / 15) * i);
      for (let part = 0; part < 4; part++) await file.write(Buffer.alloc(MIB, `${name} ${i} ${part}`), 0, MIB, at + part * MIB);
    }
    await file.close();
    return path;
  }

  /** ms from PUT to the first bytes in a client's hands. */
  async function firstRead(blockId: string): Promise<number> {
    const began = performance.now();
    const { body } = await system.api.ok('PUT', '/cdm_instances', { block_id: blockId, node_id: 'node-1' });
    const id = body['ins-id'];
    const { body: shown } = await system.api.until(
      `/openstore_v1/cdm_instances/${id}`,
      (answer) => answer.body.cdm_instance?.state === 'loaded',
    );
    await exec('qemu-io', ['-r', '-f', 'raw', '-c', 'read 0 4096', shown.cdm_instance.disks[0].uri]);
    const took = performance.now() - began;
    const gone = await system.api.ok('DELETE', `/cdm_instances/${id}`);
    await system.api.succeeded(gone.body['job-id']);
    return took;
  }

  for (const [words, size] of [
    ['16 GiB', 16 * GIB],
    ['1 TiB', 1024 * GIB],
  ] as const) {
    it(`${words}: the first bytes are there in ${LIMIT_MS} ms`, async () => {
      const blockId = await imported(system, pool, await sparseFile(`${size}.img`, size));
      const times: number[] = [];
      for (let i = 0; i < TRIALS; i++) times.push(await firstRead(blockId));
      times.sort((a, b) => a - b);
      process.stdout.write(`      ms from PUT to the first bytes: ${times.map(Math.round).join(', ')}\n`);
      expect(times[Math.floor(TRIALS / 2)], `${times.map(Math.round).join(', ')} ms`).to.be.below(LIMIT_MS);
    });
  }

  it(`${LOADED} disks of 1 TiB, read and written all over, take the node ${LIMIT_MIB} MiB of memory at most`, async () => {
    const blockId = await imported(system, pool, await sparseFile('many.img', 1024 * GIB));
    const uris: string[] = [];
    for (let i = 0; i < LOADED; i++) {
      const { body } = await system.api.ok('PUT', '/cdm_instances', { block_id: blockId, node_id: 'node-1' });
      await system.api.succeeded(body['job-id']);
      const { body: shown } = await system.api.ok('GET', `/cdm_instances/${body['ins-id']}`);
      uris.push(shown.cdm_instance.disks[0].uri);
    }
    // Each 8 GiB from the one before; then something is read in each place that holds data.
    const writes = Array.from({ length: 128 }, (_, i) => ['-c', `write -q -P 0x5a ${i * 8 * GIB} 4096`]).flat();
    const step = Math.floor((1024 * GIB - 4 * MIB) / 15);
    const reads = Array.from({ length: 16 }, (_, i) => ['-c', `read -q ${Math.floor((step * i) / 512) * 512} 256k`]).flat();
    for (const uri of uris) await exec('qemu-io', ['-f', 'raw', ...writes, '-c', 'flush', ...reads, uri]);
    const status = await readFile(`/proc/${system.nodes[0]!.pid}/status`, 'utf8');
    const most = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
    expect(most, `${Math.round(most)} MiB`).to.be.below(LIMIT_MIB);
    process.stdout.write(`      peak: ${Math.round(most)} MiB\n`);
  });
});
