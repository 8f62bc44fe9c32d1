/** The index cache lies on the node's own disk: what happens to the pool's work when that is full. */
import { createWriteStream } from 'node:fs';
import { mkdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { TransientError } from '@openservice/domain';
import { expect } from 'chai';
import { cannotMount, type Mounted, mountTmpfs } from './support/mounts.ts';
import { PackedPool } from './support/packed-pool.ts';

const CHUNKS = 3000;
const signal = new AbortController().signal;

/** Distinct chunks that are cheap to make. */
const chunksOf = (name: string, count = CHUNKS): Buffer[] =>
  Array.from({ length: count }, (_, i) => Buffer.alloc(4096, `${name}-${i};`));

describe('a packs pool whose index cache lies on a full disk', function () {
  this.timeout(60_000);
  let disk: Mounted;
  before(async function () {
    const why = cannotMount('tmpfs');
    if (why !== null) {
      console.log(`      skipped: ${why}`);
      this.skip();
    }
    disk = await mountTmpfs(1024 * 1024);
  });
  after(() => disk?.unmount());
  afterEach(() => rm(join(disk.path, 'filler'), { force: true }));

  async function fill(): Promise<void> {
    const filler = createWriteStream(join(disk.path, 'filler'));
    const full = new Promise<void>((resolve) => filler.once('error', () => resolve()));
    while (!filler.errored && !filler.destroyed) {
      filler.write(Buffer.alloc(4096, 1));
      await turn();
    }
    await full;
    expect((await statfs(disk.path)).bavail).to.equal(0);
  }

  it('commits what was written; the chunks are found again once there is room', async () => {
    const made = await PackedPool.make();
    const cacheDir = join(disk.path, 'caches');
    await mkdir(cacheDir, { recursive: true });
    const node = made.node({ cacheDir });
    await made.write('block-small', chunksOf('small', 4), node);
    await fill();
    await made.write('block-large', chunksOf('large'), node);
    expect((await node.stat('block-large', signal))?.size).to.equal(CHUNKS * 4096);
    await rm(join(disk.path, 'filler'));
    const again = await made.write('block-again', chunksOf('large'), node);
    expect(again, 'bytes of packs for what the pool has').to.equal(0);
    await node.close();
  });

  it('says what to do where not even an empty cache can be made', async () => {
    const made = await PackedPool.make();
    await fill();
    const error = await made.write('block-a', chunksOf('a', 4), made.node({ cacheDir: disk.path })).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).to.be.instanceOf(TransientError).with.property('code', 'cache_unwritable');
    expect((error as Error).message).to.contain('make room');
  });
});
