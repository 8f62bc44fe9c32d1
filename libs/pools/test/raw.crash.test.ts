import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { createFsBackend, openPool, type Pool, type WriteSession } from '@openservice/pools';
import { expect } from 'chai';
import { chunkBytes, fill, putChunk, rootOf, type TestBlock } from './conformance/content.ts';

const BLOCK: TestBlock = { size: 64 * 65536, chunkSize: 65536, data: new Set(Array.from({ length: 64 }, (_, i) => i)) };
const SPARSE: TestBlock = { ...BLOCK, data: new Set([3, 40]) };

describe('a local pool', () => {
  const signal = new AbortController().signal;
  let workers: ChunkWorkers;
  let path: string;
  let pool: Pool;

  before(() => {
    workers = createChunkWorkers({ threads: 1 });
  });
  after(() => workers.close());
  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), 'openservice-local-'));
    pool = at(path);
    await pool.probe({ create: true }, signal);
  });
  afterEach(async () => {
    await pool.close();
    await rm(path, { recursive: true, force: true });
  });

  const at = (root: string, id = 'pool-test'): Pool =>
    openPool({ id, type: 'local', node_id: 'node-1', path: root }, { workers });
  const session = (block: TestBlock, attempt = 1): WriteSession => ({
    blockId: 'block-1',
    size: block.size,
    chunkSize: block.chunkSize,
    jobId: 'job-1',
    attempt,
    fence: attempt,
  });
  const inBlock = (name: string): string => join(path, 'blocks', 'block-1', name);

  /** A process that has checkpointed half of the block. */
  const writerProcess = async () => {
    const script = new URL('./conformance/raw-writer-child.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [script, path, 'block-1'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    return child;
  };

  it('refuses the writer of another process once a newer attempt has opened the block', async () => {
    const child = await writerProcess();
    const writer = await pool.openWriter(session(BLOCK, 2), signal);
    const exit = once(child, 'exit');
    child.stdin.end('go on\n');
    const [answers] = (await once(child.stdout, 'data')) as [Buffer];
    expect(answers.toString().trim()).to.equal('fenced fenced fenced');
    await exit;
    await fill(writer, BLOCK);
    expect((await writer.prepare(signal)).rootDigest.equals(rootOf(BLOCK))).to.equal(true);
    await writer.commit(signal);
    await writer.close();
  });

  it('goes on from the checkpoint of a process that was killed', async () => {
    const child = await writerProcess();
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await pool.stat('block-1', signal)).to.equal(null);
    const writer = await pool.openWriter(session(BLOCK, 2), signal);
    expect(await fill(writer, BLOCK)).to.deep.equal(Array.from({ length: 32 }, (_, i) => i + 32));
    expect((await writer.prepare(signal)).rootDigest.equals(rootOf(BLOCK))).to.equal(true);
    await writer.commit(signal);
    await writer.close();
    const image = await readFile(inBlock('disk.raw'));
    for (const index of BLOCK.data) {
      expect(image.subarray(index * 65536, (index + 1) * 65536).equals(chunkBytes(BLOCK, index))).to.equal(true);
    }
    expect((await readdir(inBlock('.'))).sort()).to.deep.equal(['digests', 'disk.raw', 'ledger']);
  });

  it('wipes what an earlier attempt wrote but never checkpointed', async () => {
    const first = await pool.openWriter(session(SPARSE, 1), signal);
    for (const index of [3, 10, 11]) await putChunk(first, BLOCK, index);
    await first.close();
    const second = await pool.openWriter(session(SPARSE, 2), signal);
    await fill(second, SPARSE);
    expect((await second.prepare(signal)).rootDigest.equals(rootOf(SPARSE))).to.equal(true);
    await second.commit(signal);
    await second.close();
    const image = await readFile(inBlock('disk.raw'));
    expect(image.subarray(10 * 65536, 12 * 65536).every((byte) => byte === 0)).to.equal(true);
  });

  it('finishes a commit that a crash cut between the ledger and the renames', async () => {
    await store(SPARSE);
    for (const half of [['disk.raw'], ['disk.raw', 'digests']]) {
      for (const name of half)
        await rename(inBlock(name), inBlock(name === 'disk.raw' ? 'job-1.raw.part' : 'job-1.digests.part'));
      const again = at(path);
      expect((await again.stat('block-1', signal))?.rootDigest.equals(rootOf(SPARSE))).to.equal(true);
      expect((await stat(inBlock('disk.raw'))).size).to.equal(SPARSE.size);
      await again.close();
    }
  });

  it('says so when the files of a committed block were deleted by hand', async () => {
    await store(SPARSE);
    await rm(inBlock('disk.raw'));
    expect(await codeOf(pool.stat('block-1', signal))).to.equal('damaged_block');
  });

  it('keeps an image as sparse as its data, under a name that tools can read', async () => {
    await store(SPARSE);
    const info = await stat(inBlock('disk.raw'));
    expect(info.size).to.equal(SPARSE.size);
    // The last quarter of a chunk's content is zeros: of 64 KiB, 48 are data.
    expect(info.blocks * 512).to.be.at.most(2 * 49_152 + 8192);
  });

  it('keeps a block of no bytes', async () => {
    const empty: TestBlock = { size: 0, chunkSize: 65536, data: new Set() };
    await store(empty);
    const reader = await pool.openReader('block-1', signal);
    expect(reader.size).to.equal(0);
    expect(reader.rootDigest.equals(rootOf(empty))).to.equal(true);
    for await (const range of reader.extents(0, signal)) expect.fail(`an extent of an empty block: ${range.first}`);
    await reader.close();
  });

  it('refuses a directory that holds something else, or another pool', async () => {
    expect(await codeOf(at(path, 'pool-other').probe({ create: true }, signal))).to.equal('pool_path_in_use');
    expect(await codeOf(at(path, 'pool-other').probe({ create: false }, signal))).to.equal('pool_not_initialised');
    const full = join(path, 'full');
    await mkdir(full);
    await writeFile(join(full, 'letter.txt'), 'dear');
    expect(await codeOf(at(full).probe({ create: true }, signal))).to.equal('pool_path_in_use');
    await writeFile(join(full, 'pool.json'), '{"name":"carp"}');
    expect(await codeOf(at(full).probe({ create: true }, signal))).to.equal('pool_path_in_use');
    expect(await codeOf(at(join(full, 'letter.txt')).probe({ create: true }, signal))).to.equal('pool_path_invalid');
    expect(await codeOf(at(join(full, 'letter.txt', 'x')).probe({ create: true }, signal))).to.equal('pool_path_invalid');
    expect(await codeOf(at('somewhere').probe({ create: true }, signal))).to.equal('pool_path_invalid');
    expect(await codeOf(at(join(path, 'none')).probe({ create: false }, signal))).to.equal('pool_not_initialised');
  });

  it('makes the directory when asked to, and is empty after its own probe', async () => {
    const root = join(path, 'new', 'pool');
    const made = at(root);
    const probe = await made.probe({ create: true }, signal);
    expect(probe.capacityBytes).to.be.greaterThan(0);
    expect((await readdir(root)).sort()).to.deep.equal(['.TMP', 'pool.json', 'reserve']);
  });

  it('does not pass for empty when its disk is not mounted', async () => {
    await rm(join(path, 'pool.json'));
    const later = at(path);
    expect(await codeOf(later.stat('block-1', signal))).to.equal('pool_not_initialised');
    expect(await codeOf(later.openWriter(session(SPARSE), signal))).to.equal('pool_not_initialised');
  });

  it('refuses ids that would climb out of it', async () => {
    for (const blockId of ['..', 'a/b', '']) {
      expect(await codeOf(pool.stat(blockId, signal))).to.equal('invalid_key');
      expect(await codeOf(pool.openWriter({ ...session(SPARSE), blockId }, signal))).to.equal('invalid_key');
    }
    expect(await codeOf(pool.openWriter({ ...session(SPARSE), jobId: '../x' }, signal))).to.equal('invalid_key');
  });

  it('sweeps the temporary files of dead processes and leaves those of the living', async () => {
    const temp = join(path, '.TMP');
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).slice(0, 8);
    const dead = `${boot}-999999999-1-0`;
    const alive = `${boot}-1-${(await readFile('/proc/1/stat', 'utf8')).split(') ').at(-1)?.split(' ')[19]}-0`;
    for (const name of [dead, alive]) await (await open(join(temp, name), 'w')).close();
    const backend = createFsBackend(path);
    const keys: string[] = [];
    for await (const { key } of backend.list('', signal)) keys.push(key);
    expect(keys).to.deep.equal(['pool.json', 'reserve']);
    await backend.put('x', Buffer.from('x'), signal);
    expect(await readdir(temp)).to.deep.equal([alive]);
  });

  async function store(block: TestBlock): Promise<void> {
    const writer = await pool.openWriter(session(block), signal);
    await fill(writer, block);
    await writer.prepare(signal);
    await writer.commit(signal);
    await writer.close();
  }
});

async function codeOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => null,
    (error: { code?: unknown }) => error.code,
  );
}
