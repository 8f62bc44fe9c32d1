import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tempDir } from '@openservice/testkit';
import { expect } from 'chai';
import { difference, diskBytes, drawDisk, plain, writeBytes, writeDiskFile } from '../src/model/content.ts';
import { Random } from '../src/random.ts';

describe('what a client wrote', () => {
  const disk = { size: 300_001, seed: 'content' };

  it('is the same bytes whenever they are made, in memory and as a file', async () => {
    const dir = tempDir();
    const path = join(dir.path, 'disk.img');
    await writeDiskFile(path, disk);
    expect((await readFile(path)).equals(diskBytes(disk))).equal(true);
    dir.remove();
    expect(diskBytes({ size: 0, seed: 'x' })).length(0);
  });

  it('differs from anything else, be it one byte, a missing end or a byte too many', () => {
    const bytes = diskBytes(disk);
    expect(difference(plain(disk), bytes)).equal(null);
    const other = Buffer.from(bytes);
    other[200_000] = (other[200_000] ?? 0) ^ 1;
    expect(difference(plain(disk), other)).equal('1 bytes differ, the first at 200000');
    expect(difference(plain(disk), bytes.subarray(1))).match(/it has 300000 bytes, not 300001/);
    expect(difference(plain(disk), Buffer.concat([bytes, Buffer.alloc(1)]))).not.equal(null);
    expect(difference(plain({ ...disk, seed: 'another' }), bytes)).not.equal(null);
  });

  it('holds what was flushed, and may or may not hold what was not', () => {
    const write = { offset: 1000, length: 5000, seed: 'w', sure: true };
    const before = diskBytes(disk);
    const after = Buffer.from(before);
    writeBytes(write).copy(after, write.offset);
    expect(difference({ disk, writes: [write] }, after)).equal(null);
    expect(difference({ disk, writes: [write] }, before)).not.equal(null);
    const unsure = { disk, writes: [{ ...write, sure: false }] };
    expect(difference(unsure, before)).equal(null);
    expect(difference(unsure, after)).equal(null);
    const beside = Buffer.from(after);
    beside[write.offset + write.length] = (beside[write.offset + write.length] ?? 0) ^ 1;
    expect(difference(unsure, beside)).not.equal(null);
    // Written over and flushed: sure again.
    expect(
      difference(
        {
          disk,
          writes: [
            { ...write, sure: false },
            { ...write, seed: 'v' },
          ],
        },
        after,
      ),
    ).not.equal(null);
  });

  it('comes in all sizes', () => {
    const draw = new Random('sizes');
    const sizes = Array.from({ length: 400 }, (_, i) => drawDisk(draw, String(i)).size);
    expect(sizes).include(0);
    expect(sizes.some((size) => size > 0 && size < 512)).equal(true);
    expect(sizes.some((size) => size % (1024 * 1024) === 0 && size > 0)).equal(true);
    expect(Math.max(...sizes)).within(5_000_000, 6 * 1024 * 1024);
  });
});
