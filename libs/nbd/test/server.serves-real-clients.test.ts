/** Clients that others wrote, against the server: what they see of a disk is what the disk holds. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MemoryDevice } from '@openservice/nbd';
import { needsPeers } from '@openservice/testkit';
import { expect } from 'chai';
import { run, type Served, serve } from './support/serve.ts';

const MIB = 1024 * 1024;
const SIZE = 16 * MIB + 517;

describe('NBD server, seen by real clients', function () {
  this.timeout(60_000);
  let device: MemoryDevice;
  let served: Served;

  before(needsPeers('nbdinfo', 'nbdcopy', 'qemu-img', 'qemu-io'));
  beforeEach(async () => {
    device = new MemoryDevice(SIZE);
    randomBytes(3 * MIB).copy(device.bytes, 2 * MIB);
    randomBytes(517).copy(device.bytes, 16 * MIB);
    served = await serve(device);
  });
  afterEach(() => served?.stop());

  it('nbdinfo: size to the byte, flags, block sizes, and the map of data and holes', async () => {
    const [info] = JSON.parse(await run('nbdinfo', '--json', served.uri)).exports;
    expect(info['export-size']).to.equal(SIZE);
    expect(info.description).to.equal('a disk of a test');
    expect(info.contexts).to.deep.equal(['base:allocation']);
    for (const can of ['can_cache', 'can_df', 'can_fast_zero', 'can_flush', 'can_fua', 'can_multi_conn', 'can_trim', 'can_zero'])
      expect(info[can], can).to.equal(true);
    expect(info.is_read_only).to.equal(false);
    expect(info.block_size_minimum).to.equal(1);
    expect(info.block_size_maximum).to.equal(32 * MIB);
    const map = JSON.parse(await run('nbdinfo', '--json', '--map', served.uri)) as {
      offset: number;
      length: number;
      type: number;
    }[];
    expect(map.map(({ offset, length, type }) => [offset, length, type])).to.deep.equal([
      [0, 2 * MIB, 3],
      [2 * MIB, 3 * MIB, 0],
      [5 * MIB, 11 * MIB, 3],
      [16 * MIB, 517, 0],
    ]);
  });

  it('nbdinfo lists the exports', async () => {
    const listed = JSON.parse(await run('nbdinfo', '--json', '--list', `nbd+unix:///?socket=${served.socket}`));
    expect(listed.exports.map((one: { 'export-name': string }) => one['export-name'])).to.deep.equal(['disk']);
  });

  it('nbdcopy: out of the disk and into it, over several connections', async () => {
    const file = join(served.dir, 'copy.img');
    await run('nbdcopy', '--connections=4', served.uri, file);
    expect((await readFile(file)).equals(device.bytes)).to.equal(true);
    const other = randomBytes(SIZE);
    other.fill(0, 4 * MIB, 9 * MIB);
    await writeFile(file, other);
    await run('nbdcopy', '--connections=4', '--flush', file, served.uri);
    expect(device.bytes.equals(other)).to.equal(true);
    expect(device.flushes).to.be.greaterThan(0);
  });

  it('qemu-img compares, converts and maps it', async () => {
    const file = join(served.dir, 'raw.img');
    await writeFile(file, device.bytes);
    await run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', served.uri, file).catch((error: Error & { stdout: string }) => {
      // qemu's disks are whole sectors: the last 517 bytes count as two, filled up with zeros.
      if (!error.stdout.includes('Images are identical')) throw error;
    });
    const qcow2 = join(served.dir, 'disk.qcow2');
    await run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', served.uri, qcow2);
    const back = join(served.dir, 'back.img');
    await run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', qcow2, back);
    expect((await readFile(back)).subarray(0, SIZE).equals(device.bytes)).to.equal(true);
    const map = JSON.parse(await run('qemu-img', 'map', '--output=json', '-f', 'raw', served.uri)) as {
      data: boolean;
      length: number;
    }[];
    const data = map.filter((part) => part.data).reduce((sum, part) => sum + part.length, 0);
    expect(data).to.be.within(3 * MIB + 517, 3 * MIB + 4096);
  });

  it('qemu-io: writes, zeroes and discards at odd places are read back', async () => {
    const words = [
      'write -P 0xaa 1000 70000',
      'write -z 5M 1M',
      'write -P 0xbb 5.5M 3k',
      'discard 3M 64k',
      'flush',
      'read -P 0xaa 1000 70000',
      'read -P 0 5M 512k',
      'read -P 0xbb 5.5M 3k',
      'read -P 0 3M 64k',
    ];
    const out = await run('qemu-io', '-f', 'raw', '-t', 'none', ...words.flatMap((word) => ['-c', word]), served.uri);
    expect(out).not.to.include('verification failed');
    expect(device.bytes.subarray(1000, 71_000).every((byte) => byte === 0xaa)).to.equal(true);
  });

  it('a read-only disk refuses writes with EPERM and stays as it was', async () => {
    const still = new MemoryDevice(1 * MIB, { readOnly: true });
    const ro = await serve(still);
    try {
      const [info] = JSON.parse(await run('nbdinfo', '--json', ro.uri)).exports;
      expect(info.is_read_only).to.equal(true);
      await run('nbdcopy', '--', ro.uri, join(ro.dir, 'out.img'));
      const failure = await run('qemu-io', '-f', 'raw', '-c', 'write -P 1 0 4k', ro.uri).catch((error: Error) => error);
      expect(failure).to.be.instanceOf(Error);
      expect(still.bytes.every((byte) => byte === 0)).to.equal(true);
    } finally {
      await ro.stop();
    }
  });

  it('reads that take the slow way are answered in whatever order they are done', async () => {
    const slow = new MemoryDevice(8 * MIB, { hot: false });
    randomBytes(8 * MIB).copy(slow.bytes);
    const other = await serve(slow);
    try {
      const file = join(other.dir, 'copy.img');
      await run('nbdcopy', '--requests=64', '--request-size=65536', other.uri, file);
      expect((await readFile(file)).equals(slow.bytes)).to.equal(true);
    } finally {
      await other.stop();
    }
  });
});
