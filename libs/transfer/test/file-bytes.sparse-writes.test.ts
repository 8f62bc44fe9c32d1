import { randomBytes, randomInt } from 'node:crypto';
import { mkdtemp, open, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { SparseWrites } from '../src/file-bytes.ts';

const CHUNK = 64 * 1024;
const PAGE = 4096;

describe('writes into a sparse file', () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'openservice-sparse-'));
  });
  after(() => rm(dir, { recursive: true, force: true }));

  it('of many chunks at once, in any order, with pages of zeros among them, leave the same bytes and holes', async () => {
    const chunks = 150;
    const want = randomBytes(chunks * CHUNK - 1234);
    let zeros = 0;
    for (let page = 0; page < want.length / PAGE; page++) {
      if (randomInt(3) > 0) continue;
      want.fill(0, page * PAGE, Math.min(want.length, (page + 1) * PAGE));
      zeros += Math.min(PAGE, want.length - page * PAGE);
    }
    want.fill(0, 7 * CHUNK, 9 * CHUNK);
    const path = join(dir, 'many');
    const handle = await open(path, 'w+');
    try {
      await handle.truncate(want.length);
      const writes = new SparseWrites(handle);
      const order = Array.from({ length: chunks }, (_, i) => i).sort(() => randomInt(3) - 1);
      const written = await Promise.all(order.map((i) => writes.write(want.subarray(i * CHUNK, (i + 1) * CHUNK), i * CHUNK)));
      expect((await readFile(path)).equals(want)).to.equal(true);
      const sum = written.reduce((total, bytes) => total + bytes, 0);
      expect(sum).to.be.at.most(want.length - zeros);
      expect(written[order.indexOf(7)]).to.equal(0);
      expect((await stat(path)).blocks * 512).to.be.lessThan(want.length);
    } finally {
      await handle.close();
    }
  });

  it('fail each write that the system refused, and no other', async () => {
    const handle = await open(join(dir, 'refused'), 'w+');
    const writes = new SparseWrites(handle);
    const good = writes.write(Buffer.alloc(PAGE, 1), 0);
    // Past what a file can be.
    const bad = writes.write(Buffer.alloc(PAGE, 2), 2 ** 53 - PAGE).then(
      () => 'written',
      (error: NodeJS.ErrnoException) => error.code,
    );
    expect(await good).to.equal(PAGE);
    expect(await bad).to.equal('EFBIG');
    await handle.close();
  });
});
