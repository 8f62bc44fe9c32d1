/** Files of an overlay that are torn, cut, lost or of another disk: what was flushed is served, or the overlay is refused by name. */
import { appendFile, copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LayeredDisk, MemoryDevice, Overlay } from '@openservice/nbd';
import { expect } from 'chai';
import { Random } from './support/random.ts';

const SIZE = 64 * 4096 + 100;

describe('an overlay and its files', function () {
  this.timeout(60_000);
  let root: string;
  let dir: string;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'openservice-overlay-'));
    dir = join(root, 'disk');
    await mkdir(dir);
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  function base(size = SIZE): MemoryDevice {
    const device = new MemoryDevice(size, { readOnly: true });
    device.bytes.fill(1);
    return device;
  }

  async function contents(directory: string, existing = true): Promise<Buffer> {
    const overlay = await Overlay.open({ directory, base: base(), existing });
    const bytes = Buffer.alloc(SIZE);
    await overlay.read(0, bytes);
    await overlay.close();
    return bytes;
  }

  async function refusal(work: Promise<unknown>): Promise<Error & { code: string }> {
    return work.then(
      () => expect.fail('it was to be refused'),
      (error: Error & { code: string }) => error,
    );
  }

  it('a journal that is torn at any byte gives what was flushed up to there, and goes on', async () => {
    const overlay = await Overlay.open({ directory: dir, base: base() });
    /** Length of the journal after a flush, and what the disk held then. */
    const flushed: { length: number; bytes: Buffer }[] = [
      { length: (await stat(join(dir, 'map'))).size, bytes: Buffer.alloc(SIZE, 1) },
    ];
    for (const [i, offset] of [0, 4096 * 3 + 17, 4096 * 9].entries()) {
      await overlay.write(offset, Buffer.alloc(5000, 10 + i), false);
      await overlay.zero(4096 * (20 + i), 4096, { hole: true, fua: false });
      await overlay.flush();
      const bytes = Buffer.alloc(SIZE);
      await overlay.read(0, bytes);
      flushed.push({ length: (await stat(join(dir, 'map'))).size, bytes });
    }
    const whole = await readFile(join(dir, 'map'));
    await overlay.close();
    const torn = join(root, 'torn');
    for (let length = flushed[0]!.length; length <= whole.length; length++) {
      await rm(torn, { recursive: true, force: true });
      await cp(dir, torn, { recursive: true });
      await truncate(join(torn, 'map'), length);
      // What follows the tear may be anything.
      if (length % 2 === 0) await appendFile(join(torn, 'map'), Buffer.alloc(length % 64, 0xff));
      const expected = flushed.findLast((one) => one.length <= length)!;
      expect((await contents(torn)).equals(expected.bytes), `torn at ${length}`).to.equal(true);
      const again = await Overlay.open({ directory: torn, base: base(), existing: true });
      await again.write(0, Buffer.alloc(10, 77), true);
      await again.close();
      expect((await contents(torn))[0]).to.equal(77);
    }
  });

  it('a byte of the journal that has changed ends it there; in the header it is refused by name', async () => {
    const overlay = await Overlay.open({ directory: dir, base: base() });
    for (let i = 0; i < 3; i++) await overlay.write(i * 4096, Buffer.alloc(4096, 50 + i), true);
    await overlay.close();
    const whole = await readFile(join(dir, 'map'));
    for (let at = 0; at < whole.length; at += 3) {
      const changed = Buffer.from(whole);
      changed[at]! ^= 0x10;
      await writeFile(join(dir, 'map'), changed);
      if (at < 64) {
        expect(await refusal(contents(dir)))
          .to.include({ code: 'damaged_overlay' })
          .with.property('message')
          .that.includes(join(dir, 'map'));
        continue;
      }
      const got = await contents(dir);
      const kept = Math.floor((at - 64) / 48);
      for (let i = 0; i < 3; i++) expect(got[i * 4096], `byte ${at}, write ${i}`).to.equal(i < kept ? 50 + i : 1);
    }
  });

  it('files that are gone, cut off, or of another disk are refused by name, and stay refused', async () => {
    const overlay = await Overlay.open({ directory: dir, base: base() });
    await overlay.write(0, Buffer.alloc(4096, 9), true);
    await overlay.close();
    const kept = join(root, 'kept');
    await cp(dir, kept, { recursive: true });
    const restore = async (): Promise<void> => {
      for (const name of ['map', 'data']) await copyFile(join(kept, name), join(dir, name));
    };
    for (const [what, harm] of [
      ['"map" is gone', () => rm(join(dir, 'map'))],
      ['"data" is gone', () => rm(join(dir, 'data'))],
      ['"data" has another size', () => truncate(join(dir, 'data'), 2048)],
    ] as const) {
      await restore();
      await harm();
      for (let i = 0; i < 2; i++) {
        const refused = await refusal(contents(dir, false));
        expect(refused).to.include({ code: 'damaged_overlay' });
        expect(refused.message).to.include(dir).and.to.include(what);
      }
    }
    await restore();
    expect(await refusal(Overlay.open({ directory: dir, base: base(SIZE + 1) }))).to.include({ code: 'damaged_overlay' });
    for (const name of ['map', 'data']) await rm(join(dir, name));
    expect(await refusal(contents(dir, true))).to.include({ code: 'damaged_overlay' });
  });

  it('a disk whose layers are gone or whose list is damaged is refused', async () => {
    const disk = await LayeredDisk.open(dir, base());
    await disk.write(0, Buffer.alloc(4096, 9), true);
    await disk.close();
    expect(await readdir(dir)).to.have.members(['0', 'layers.json']);
    await writeFile(join(dir, 'layers.json'), '{"layers":[0');
    expect(await refusal(LayeredDisk.open(dir, base()))).to.include({ code: 'damaged_overlay' });
    await writeFile(join(dir, 'layers.json'), '{"layers":[0]}');
    await rm(join(dir, '0'), { recursive: true });
    expect(await refusal(LayeredDisk.open(dir, base()))).to.include({ code: 'damaged_overlay' });
  });

  it('leaves no file open where it cannot be opened', async () => {
    const disk = await LayeredDisk.open(dir, base());
    await disk.write(0, Buffer.alloc(4096, 9), true);
    await disk.close();
    await truncate(join(dir, '0', 'data'), 0);
    const before = (await readdir('/proc/self/fd')).length;
    for (let i = 0; i < 20; i++) await refusal(LayeredDisk.open(dir, base()));
    expect((await readdir('/proc/self/fd')).length).to.be.at.most(before);
  });

  it('what is under way when it is closed is done first; what comes then is refused', async () => {
    const overlay = await Overlay.open({ directory: dir, base: base() });
    const writes = Array.from({ length: 40 }, (_, i) => overlay.write(i * 6000, Buffer.alloc(6000, 100 + i), i % 8 === 0));
    const reads = Array.from({ length: 10 }, (_, i) => overlay.read(i * 4096, Buffer.alloc(4096)));
    const closing = overlay.close();
    const late = refusal(overlay.write(0, Buffer.alloc(10), false));
    await Promise.all([...writes, ...reads, closing]);
    expect(await late).to.include({ code: 'instance_closed' });
    for (const again of [overlay.read(0, Buffer.alloc(4096)), overlay.flush(), overlay.rewind()]) {
      expect(await refusal(again)).to.include({ code: 'instance_closed' });
    }
    expect(overlay.writeNow(0, Buffer.alloc(4096))).to.equal(false);
    const bytes = await contents(dir);
    for (let i = 0; i < 40; i++) expect(bytes[i * 6000]).to.equal(100 + i);
  });

  it('a long journal is written anew, and says the same', async () => {
    const overlay = await Overlay.open({ directory: dir, base: base(), limits: { journalBytes: 3000 } });
    const known = Buffer.alloc(SIZE, 1);
    const random = new Random(7);
    let longest = 0;
    for (let round = 0; round < 400; round++) {
      const offset = random.below(SIZE - 11_000);
      const length = random.chance(70) ? 1 + random.below(300) : 4096 + random.below(6000);
      const value = random.chance(30) ? 0 : 2 + (round % 200);
      if (value === 0) await overlay.zero(offset, length, { hole: true, fua: true });
      else await overlay.write(offset, Buffer.alloc(length, value), true);
      known.fill(value, offset, offset + length);
      longest = Math.max(longest, (await stat(join(dir, 'map'))).size);
    }
    expect(longest).to.be.within(3000, 20_000);
    await overlay.close();
    expect((await contents(dir)).equals(known)).to.equal(true);
  });

  it('more blocks that were written in part than it keeps books of: they are made whole', async () => {
    const size = 6000 * 4096;
    const device = base(size);
    const overlay = await Overlay.open({ directory: dir, base: device });
    await Promise.all(Array.from({ length: 6000 }, (_, i) => overlay.write(i * 4096 + 50, Buffer.alloc(100, 5), false)));
    await overlay.close();
    const again = await Overlay.open({ directory: dir, base: base(size), existing: true });
    const bytes = Buffer.alloc(size);
    await again.read(0, bytes);
    const expected = Buffer.alloc(size, 1);
    for (let i = 0; i < 6000; i++) expected.fill(5, i * 4096 + 50, i * 4096 + 150);
    expect(bytes.equals(expected)).to.equal(true);
    await again.close();
  });
});
