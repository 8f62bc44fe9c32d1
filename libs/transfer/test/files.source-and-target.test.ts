import {
  link,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import {
  discardFileTarget,
  type FileSource,
  type FileTargetState,
  fileSource,
  openFileTarget,
  transfer,
} from '@openservice/transfer';
import { expect } from 'chai';

const CHUNK = 64 * 1024;
const SIZE = 40 * CHUNK + 123;
const never = new AbortController().signal;

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => expect.fail('it did not fail'),
    (error: Error) => error,
  );
}

describe('files as source and target', () => {
  let dir: string;
  let image: string;
  let workers: ChunkWorkers;

  before(() => {
    workers = createChunkWorkers({ threads: 1 });
  });
  after(() => workers.close());
  beforeEach(async () => {
    dir = await realpath(await mkdtemp(join(tmpdir(), 'transfer-')));
    image = join(dir, 'disk.img');
    const handle = await open(image, 'w');
    await handle.truncate(SIZE);
    await handle.write(Buffer.alloc(3 * CHUNK, 'data'), 0, 3 * CHUNK, 2 * CHUNK + 5000);
    await handle.write(Buffer.from('the end'), 0, 7, SIZE - 7);
    await handle.close();
  });
  afterEach(() => rm(dir, { recursive: true }));

  const source = async (): Promise<FileSource> =>
    fileSource({ handle: await open(image, 'r'), path: image, size: SIZE, chunkSize: CHUNK, workers });
  const target = (resume: FileTargetState | null = null) =>
    openFileTarget({ path: join(dir, 'out.img'), size: SIZE, chunkSize: CHUNK, jobId: 'job-1', resume, workers, signal: never });

  async function copied() {
    const [from, to] = [await source(), await target()];
    const result = await transfer({ source: from, writer: to, signal: never });
    await from.assertUnchanged();
    await from.close();
    return { to, result };
  }

  it('copies a sparse file byte for byte, and sparse', async () => {
    const { to, result } = await copied();
    expect(await readdir(dir)).to.have.members(['disk.img', 'out.img.openservice-job-1.part']);
    await to.commit(never);
    await to.commit(never);
    await to.close();
    expect(await readdir(dir)).to.have.members(['disk.img', 'out.img']);
    expect((await readFile(join(dir, 'out.img'))).equals(await readFile(image))).to.equal(true);
    expect((await stat(join(dir, 'out.img'))).blocks * 512).to.be.below(6 * CHUNK);
    expect(result.counters.bytesSkipped).to.be.above(30 * CHUNK);
  });

  it('never overwrites a file that came up under the final name', async () => {
    const { to } = await copied();
    await writeFile(join(dir, 'out.img'), 'precious');
    expect(await failure(to.commit(never))).to.include({ code: 'target_exists' });
    await to.abort(never);
    await to.close();
    expect(await readFile(join(dir, 'out.img'), 'utf8')).to.equal('precious');
    expect(await readdir(dir)).to.have.members(['disk.img', 'out.img']);
    expect(await failure(target())).to.include({ code: 'target_exists' });
  });

  it('writes nothing through a directory that became a link since its path was resolved', async () => {
    if (process.platform !== 'linux') return;
    await mkdir(join(dir, 'elsewhere'));
    await symlink(join(dir, 'elsewhere'), join(dir, 'swapped'));
    const path = join(dir, 'swapped', 'out.img');
    const options = { path, size: SIZE, chunkSize: CHUNK, jobId: 'job-1', resume: null, workers, signal: never };
    expect(await failure(openFileTarget(options))).to.have.property('code', 'path_not_allowed');
    expect(await readdir(join(dir, 'elsewhere'))).to.deep.equal([]);
  });

  it('knows its own file after a crash between the link and the end', async () => {
    const { to } = await copied();
    const { state } = to;
    await link(join(dir, 'out.img.openservice-job-1.part'), join(dir, 'out.img'));
    await to.close();
    const again = await target(state);
    expect(again.committed).to.equal(true);
    await again.commit(never);
    await again.close();
    expect(await readdir(dir)).to.have.members(['disk.img', 'out.img']);
  });

  it('goes on from its checkpoint with the same root digest', async () => {
    const whole = await copied();
    await whole.to.abort(never);
    await whole.to.close();
    const [from, to] = [await source(), await target()];
    to.hole(0, 2);
    for (const index of [2, 3]) {
      const buffer = Buffer.alloc(CHUNK);
      await to.put(index, await from.readChunk(index, buffer, never), buffer, never);
    }
    await to.checkpoint(never);
    expect(to.state.chunks).to.equal(4);
    await to.close();
    const resumed = await target(to.state);
    expect(resumed.has(3)).to.equal(true);
    expect(resumed.has(4)).to.equal(false);
    const result = await transfer({ source: from, writer: resumed, signal: never });
    await from.close();
    await resumed.commit(never);
    await resumed.close();
    expect(result.rootDigest.equals(whole.result.rootDigest)).to.equal(true);
    expect((await readFile(join(dir, 'out.img'))).equals(await readFile(image))).to.equal(true);
  });

  it('counts the bytes of chunks that are put at once', async () => {
    const to = await target();
    const bytes = Buffer.alloc(CHUNK, 'data');
    await Promise.all([0, 1, 2, 3].map((index) => to.put(index, Buffer.alloc(32, 1), bytes, never)));
    expect(to.bytesSent).to.equal(4 * CHUNK);
    await to.abort(never);
    await to.close();
  });

  it('is discarded without a trace, twice without an error', async () => {
    const { to } = await copied();
    await to.close();
    await discardFileTarget(join(dir, 'out.img'), 'job-1');
    await discardFileTarget(join(dir, 'out.img'), 'job-1');
    expect(await readdir(dir)).to.deep.equal(['disk.img']);
  });

  it('fails with one sentence when the source shrinks while it is read', async () => {
    const from = await source();
    await truncate(image, 3 * CHUNK);
    const error = await failure(from.readChunk(4, Buffer.alloc(CHUNK), never));
    expect(error).to.include({ code: 'source_changed' });
    expect(error.message).to.contain('shrank while it was read');
    await from.close();
  });

  it('sees at the end that the source was written to', async () => {
    const from = await source();
    await utimes(image, 1, 1);
    expect(await failure(from.assertUnchanged())).to.include({ code: 'source_changed' });
    await from.close();
  });
});
