import { randomBytes } from 'node:crypto';
import { open, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { newId } from '@openservice/domain';
import { createMemoryBackend, createPacksPool, type Pool } from '@openservice/pools';
import { type NbdServer, nbdkit, needsPeers, qemuNbd } from '@openservice/testkit';
import { transfer } from '@openservice/transfer';
import { expect } from 'chai';
import { type ImportSource, openSource, probeSource, type SourceDeps, withParent } from '../src/sources/open-source.ts';
import { CHUNK, failureOf, makeSite, never, readAll, type Site } from './sources.support.ts';

const CHUNKS = 300;
const SIZE = CHUNKS * CHUNK;

describe('increments', () => {
  let site: Site;
  let pool: Pool;
  let parentId: string;
  let disk: string;
  let reads: number[];

  beforeEach(async () => {
    site = await makeSite();
    disk = join(site.root, 'disk.raw');
    await write(SIZE, ...Array.from({ length: 200 }, (_, i) => [i * CHUNK, randomBytes(CHUNK)] as const));
    pool = createPacksPool({ id: newId('pool'), backend: createMemoryBackend(), workers: site.deps.workers });
    await pool.probe({ create: true }, never);
    parentId = (await imported(await opened())).blockId;
  });
  afterEach(async () => {
    await pool.close();
    await site.remove();
  });

  async function write(size: number, ...pieces: (readonly [number, Buffer])[]) {
    const handle = await open(disk, 'a').then(async (made) => {
      await made.close();
      return open(disk, 'r+');
    });
    await handle.truncate(size);
    for (const [at, bytes] of pieces) await handle.write(bytes, 0, bytes.length, at);
    await handle.close();
  }
  async function opened(size = SIZE, chunkSize = CHUNK): Promise<ImportSource> {
    const ref = { type: 'file', node_id: 'n', path: disk, format: 'raw' } as const;
    const source = await openSource(site.deps, ref, { id: 'block-1', size, chunkSize }, null, never);
    reads = [];
    const { readChunk } = source;
    source.readChunk = (index, target, signal) => {
      reads.push(index);
      return readChunk.call(source, index, target, signal);
    };
    return source;
  }
  async function increment(changed: { offset: number; length: number }[] | null, size = SIZE, chunkSize = CHUNK) {
    const source = await opened(size, chunkSize);
    return withParent(source, await pool.openReader(parentId, never), changed, { seed: 'job-1', workers: site.deps.workers });
  }
  async function imported(source: ImportSource) {
    const blockId = newId('block');
    const session = { blockId, size: source.size, chunkSize: source.chunkSize, jobId: newId('job'), attempt: 1, fence: 1 };
    const writer = await pool.openWriter(session, never);
    const result = await transfer({ source, writer, signal: never });
    await writer.commit(never);
    await writer.close();
    const notes = source.notes();
    await source.close();
    return { blockId, notes, ...result };
  }
  /** As a full import of the disk would make it. */
  async function expectWhole(rootDigest: Buffer, size = SIZE, chunkSize = CHUNK) {
    const before = reads;
    expect((await imported(await opened(size, chunkSize))).rootDigest.equals(rootDigest)).to.equal(true);
    reads = before;
  }

  it('read what was changed and a sample of the rest, and move nothing that the pool has', async () => {
    await write(SIZE, [10 * CHUNK + 5, randomBytes(10)], [250 * CHUNK, randomBytes(CHUNK)]);
    const changed = [
      { offset: 10 * CHUNK + 5, length: 10 },
      { offset: 249 * CHUNK + 7, length: CHUNK },
    ];
    const { rootDigest, counters, notes } = await imported(await increment(changed));
    expect(notes).to.deep.equal([]);
    expect(new Set(reads)).to.include(10).and.to.include(249).and.to.include(250);
    expect(reads).to.have.length(3 + 16);
    expect(counters.bytesDone).to.equal(SIZE);
    expect(counters.bytesSent).to.be.below(20 * CHUNK);
    await expectWhole(rootDigest);
  });

  it('read all when the changed extents left something out, and say so', async () => {
    await write(SIZE, ...Array.from({ length: 150 }, (_, i) => [i * CHUNK, randomBytes(10)] as const));
    const { rootDigest, notes } = await imported(await increment([{ offset: 0, length: 10 }]));
    expect(notes).to.have.length(1);
    expect(notes[0]).to.contain('not to be trusted');
    expect(new Set(reads).size).to.equal(200);
    await expectWhole(rootDigest);
  });

  it('draw the same sample when they go on, and another for another job', async () => {
    const sampled: string[] = [];
    for (const seed of ['job-1', 'job-1', 'job-2']) {
      const source = await opened();
      const parent = await pool.openReader(parentId, never);
      const whole = withParent(source, parent, [], { seed, workers: site.deps.workers });
      for await (const range of whole.extents(0, never)) expect(range.count).to.be.above(0);
      sampled.push(reads.sort((a, b) => a - b).join());
      await whole.close();
    }
    expect(sampled[0]).to.equal(sampled[1]);
    expect(sampled[0]).to.not.equal(sampled[2]);
  });

  it('take what is past the parent as changed, and end where a smaller disk ends', async () => {
    const [larger, smaller] = [SIZE + 3 * CHUNK + 9, 100 * CHUNK + 9];
    await write(larger, [SIZE + CHUNK, randomBytes(CHUNK)]);
    await expectWhole((await imported(await increment([], larger))).rootDigest, larger);
    await write(smaller);
    const { rootDigest } = await imported(await increment([], smaller));
    expect(reads).to.include(100);
    await expectWhole(rootDigest, smaller);
  });

  it('read all without extents, or where chunks are of another size', async () => {
    const lineage = await imported(await increment(null));
    expect([lineage.notes, new Set(reads).size]).to.deep.equal([[], 200]);
    const other = await imported(await increment([], SIZE, 2 * CHUNK));
    expect(other.notes[0]).to.contain('all of the source was read');
    await expectWhole(other.rootDigest, SIZE, 2 * CHUNK);
  });
});

describe('files, content and NBD exports as sources', () => {
  let site: Site;
  let server: NbdServer | null = null;
  let disk: string;

  before(needsPeers('nbdkit', 'qemu-nbd'));
  beforeEach(async () => {
    site = await makeSite();
    disk = join(site.root, 'disk.raw');
    const handle = await open(disk, 'w');
    await handle.truncate(CHUNK * 50 + 99);
    await handle.write(randomBytes(CHUNK), 0, CHUNK, 20 * CHUNK + 7);
    await handle.close();
  });
  afterEach(async () => {
    await server?.stop();
    await site.remove();
  });

  const size = CHUNK * 50 + 99;
  const block = { id: 'block-1', size, chunkSize: CHUNK };
  const disked = async () => {
    const handle = await open(disk);
    const bytes = await handle.readFile();
    await handle.close();
    return bytes;
  };

  for (const [name, start] of [
    ['nbdkit', (socket: string) => nbdkit(socket, ['-r', 'file', disk])],
    ['qemu-nbd', (socket: string) => qemuNbd(socket, ['-r', '-f', 'raw', disk])],
  ] as const) {
    it(`read an export of ${name}, and of it only what is no hole`, async () => {
      server = await start(join(site.dir, 's'));
      expect(await probeSource(site.deps, { type: 'nbd', uri: server.uri }, never)).to.include({ format: 'raw' });
      const told = (await probeSource(site.deps, { type: 'nbd', uri: server.uri }, never)).size;
      const source = await openSource(site.deps, { type: 'nbd', uri: server.uri }, { ...block, size: told }, null, never);
      const { bytes, read } = await readAll(source);
      expect(bytes.subarray(0, size).equals(await disked())).to.equal(true);
      expect(read).to.have.members([20, 21]);
      expect(source.notes()).to.deep.equal([]);
      await source.close();
      const other = openSource(site.deps, { type: 'nbd', uri: server.uri }, { ...block, size: told - 1 }, null, never);
      expect(await failureOf(other)).to.include({ code: 'source_changed' });
    });
  }

  it('say that a writable export could have changed', async () => {
    server = await nbdkit(join(site.dir, 's'), ['file', disk]);
    const source = await openSource(site.deps, { type: 'nbd', uri: server.uri }, block, null, never);
    expect(source.notes()[0]).to.contain('could be written to');
    await source.close();
  });

  it('know a file that changed since an earlier run, and while it was read', async () => {
    const ref = { type: 'file', node_id: 'n', path: disk, format: 'raw' } as const;
    const source = await openSource(site.deps, ref, block, null, never);
    const identity = JSON.parse(JSON.stringify(source.identity)) as unknown;
    await (await openSource(site.deps, ref, block, identity, never)).close();
    await utimes(disk, 1, 1);
    expect(await failureOf(source.assertUnchanged())).to.include({ code: 'source_changed' });
    await source.close();
    expect(await failureOf(openSource(site.deps, ref, block, identity, never))).to.include({ code: 'source_changed' });
  });

  it('read what a client sent', async () => {
    const content = { open: async () => ({ handle: await open(disk), path: disk, size }) };
    const deps: SourceDeps = { ...site.deps, content };
    const source = await openSource(deps, { type: 'content', node_id: 'n' }, block, null, never);
    expect((await readAll(source)).bytes.equals(await disked())).to.equal(true);
    await source.close();
  });
});
