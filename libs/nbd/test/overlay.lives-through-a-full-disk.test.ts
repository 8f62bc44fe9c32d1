/** No room left under an overlay: ENOSPC to who writes, what was flushed stays, and it goes on once there is room. */
import { execFileSync } from 'node:child_process';
import { open as fsOpen, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LayeredDisk, MemoryDevice } from '@openservice/nbd';
import { needsPeers } from '@openservice/testkit';
import { expect } from 'chai';
import { run, serve } from './support/serve.ts';

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;
const BLOCKS = SIZE / 4096;

describe('a disk over a base, on a full filesystem', function () {
  this.timeout(60_000);
  let dir: string | null = null;

  before(needsPeers('qemu-io'));
  before(async function () {
    const place = await mkdtemp(join(tmpdir(), 'openservice-full-'));
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', place], { stdio: 'ignore' });
      dir = place;
    } catch {
      await rm(place, { recursive: true });
      this.test?.parent?.eachTest((test) => {
        test.title += ' (needs the right to mount a small tmpfs)';
      });
      this.skip();
    }
  });
  after(async () => {
    if (dir === null) return;
    execFileSync('umount', [dir]);
    await rm(dir, { recursive: true });
  });

  async function open(): Promise<LayeredDisk> {
    const base = new MemoryDevice(SIZE, { readOnly: true });
    base.bytes.fill(1);
    return LayeredDisk.open(join(dir!, 'disk'), base);
  }

  it('says so to who writes, by whatever way; keeps what was flushed; goes on when there is room', async () => {
    // Room of others', which is given back later.
    await writeFile(join(dir!, 'other'), Buffer.alloc(MIB));
    let disk = await open();
    const served = await serve(disk);
    const known = Buffer.alloc(SIZE, 1);
    let full = 0;
    let flushed = 0;
    for (let block = 0; block < BLOCKS && full < 40; block++) {
      // In places of their own, whole and in part, at once and aside, and with FUA.
      const offset = ((block * 37) % BLOCKS) * 4096;
      const bytes = Buffer.alloc(block % 5 === 0 ? 700 : 4096, 2 + (block % 100));
      try {
        if (block % 3 !== 0 || !disk.writeNow(offset, bytes)) await disk.write(offset, bytes, block % 7 === 0);
        bytes.copy(known, offset);
      } catch (error) {
        expect(error).to.include({ code: 'no_space' });
        full++;
        // What failed may be there or not: it is asked for no more.
        known.fill(0, offset, offset + 4096);
      }
      if (block % 50 === 0) {
        await disk.flush().then(
          () => flushed++,
          (error: unknown) => expect(error).to.include({ code: 'no_space' }),
        );
      }
    }
    expect(full).to.equal(40);
    expect(flushed).to.be.greaterThan(0);
    const refused = await run('qemu-io', '-f', 'raw', '-t', 'none', '-c', 'write -P 9 15M 512k', served.uri).then(
      () => expect.fail('there is no room'),
      (error: Error & { stdout: string; stderr: string }) => error.stdout + error.stderr,
    );
    expect(refused).to.include('No space left on device');
    // Holding it still needs room for a layer: that fails or not, and the disk stays as it is.
    await disk.freeze().then(
      (frozen) => frozen.release(),
      (error: unknown) => expect(error).to.include({ code: 'no_space' }),
    );
    await rm(join(dir!, 'other'));
    await disk.flush();
    await disk.write(0, Buffer.alloc(4096, 250), true);
    known.fill(250, 0, 4096);
    await check(disk, known);
    await served.stop();
    await disk.close();
    disk = await open();
    await check(disk, known);
    await disk.close();
  });

  it('changes of the map that find no room in the journal are kept for the next flush', async () => {
    await rm(join(dir!, 'disk'), { recursive: true, force: true });
    let disk = await open();
    // No room for bytes is needed to zero blocks that nobody wrote; 49 KB of journal are.
    for (let block = 0; block < BLOCKS; block += 2) await disk.zero(block * 4096, 4096, { hole: true, fua: false });
    const other = await fsOpen(join(dir!, 'other'), 'w');
    await expectFull(async () => {
      for (;;) await other.write(Buffer.alloc(4096));
    });
    await expectFull(() => disk.flush());
    await expectFull(() => disk.flush());
    await other.truncate(0);
    await other.close();
    await disk.flush();
    await disk.close();
    disk = await open();
    const bytes = Buffer.alloc(SIZE);
    await disk.read(0, bytes);
    for (let block = 0; block < BLOCKS; block++) expect(bytes[block * 4096], `block ${block}`).to.equal(block % 2);
    await disk.close();
  });

  async function expectFull(work: () => Promise<unknown>): Promise<void> {
    const error = await work().then(
      () => null,
      (reason: unknown) => reason as { code: string },
    );
    expect(error?.code).to.be.oneOf(['no_space', 'ENOSPC']);
  }

  async function check(disk: LayeredDisk, known: Buffer): Promise<void> {
    const bytes = Buffer.alloc(SIZE);
    await disk.read(0, bytes);
    for (let block = 0; block < BLOCKS; block++) {
      const [from, to] = [block * 4096, (block + 1) * 4096];
      if (block < 3840 && known[from] !== 0) expect(bytes.compare(known, from, to, from, to), `block ${block}`).to.equal(0);
    }
  }
});
