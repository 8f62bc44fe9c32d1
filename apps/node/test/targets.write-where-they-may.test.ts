import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, readdir, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { type NbdServer, nbdkit, needsPeers, qemuNbd } from '@openservice/testkit';
import { type FileSource, fileSource, transfer } from '@openservice/transfer';
import { expect } from 'chai';
import { ImportRoots } from '../src/import-roots.ts';
import { discardTarget, openTarget, probeTarget, type RestoreTarget, type TargetRef } from '../src/targets/open-target.ts';

const CHUNK = 64 * 1024;
const SIZE = 40 * CHUNK + 123;
const never = new AbortController().signal;

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'none',
    (error: { code: string }) => error.code,
  );
}

describe('targets of a restore', () => {
  let dir: string;
  let root: string;
  let image: string;
  let workers: ChunkWorkers;
  let roots: ImportRoots;

  before(() => {
    workers = createChunkWorkers({ threads: 1 });
  });
  after(() => workers.close());
  beforeEach(async () => {
    dir = await realpath(await mkdtemp(join(tmpdir(), 'targets-')));
    root = join(dir, 'root');
    await mkdir(root);
    roots = new ImportRoots([root]);
    image = join(dir, 'disk.img');
    const handle = await open(image, 'w');
    await handle.truncate(SIZE);
    await handle.write(randomBytes(8 * CHUNK), 0, 8 * CHUNK, 4 * CHUNK + 5000);
    await handle.write(Buffer.from('the end'), 0, 7, SIZE - 7);
    await handle.close();
  });
  afterEach(() => rm(dir, { recursive: true }));

  const deps = () => ({ importRoots: roots, workers });
  const source = async (): Promise<FileSource> =>
    fileSource({ handle: await open(image, 'r'), path: image, size: SIZE, chunkSize: CHUNK, workers });
  const opened = (target: TargetRef, options: { delta?: boolean; resume?: unknown } = {}) =>
    openTarget(deps(), target, {
      size: SIZE,
      chunkSize: CHUNK,
      jobId: 'job-1',
      resume: null,
      delta: false,
      signal: never,
      ...options,
    });

  async function restored(target: RestoreTarget) {
    const from = await source();
    try {
      const result = await transfer({ source: from, writer: target, signal: never });
      await target.commit(never);
      return { result, state: JSON.parse(JSON.stringify(target.state)) as unknown };
    } finally {
      await target.close();
      await from.close();
    }
  }
  async function expectSame(path: string) {
    const written = (await readFile(path)).subarray(0, SIZE);
    expect(written.equals(await readFile(image))).to.equal(true);
  }

  describe('a file', () => {
    const file = () => ({ type: 'file' as const, path: join(root, 'out.img') });

    it('comes whole, beside its name until then, and is never overwritten', async () => {
      const target = await opened(file());
      expect(await readdir(root)).to.deep.equal(['out.img.openservice-job-1.part']);
      await restored(target);
      await expectSame(file().path);
      expect(await codeOf(opened(file()))).to.equal('target_exists');
      await discardTarget(deps(), file(), { jobId: 'job-1' });
      expect(await readdir(root)).to.deep.equal(['out.img']);
    });

    it('knows its own work after a crash', async () => {
      const { state } = await restored(await opened(file()));
      const again = await opened(file(), { resume: state });
      expect(again.committed).to.equal(true);
      await again.close();
    });

    it('is written over with delta: what is equal stays, zeros become holes, the size is made right', async () => {
      const wrong = Buffer.concat([await readFile(image), Buffer.alloc(5 * CHUNK, 1)]);
      wrong.fill(7, 5 * CHUNK, 5 * CHUNK + 10);
      wrong.fill(7, 20 * CHUNK, 24 * CHUNK);
      await writeFile(file().path, wrong);
      const { ino } = await stat(file().path);
      const { result } = await restored(await opened(file(), { delta: true }));
      await expectSame(file().path);
      const now = await stat(file().path);
      expect(now.ino).to.equal(ino);
      expect(now.size).to.equal(SIZE);
      expect(now.blocks * 512).to.be.below(14 * CHUNK);
      expect(result.counters.bytesSent).to.equal(CHUNK);
      expect(result.counters.bytesSkipped).to.equal(SIZE - CHUNK);
    });

    it('is made anew by delta where it is not there', async () => {
      await restored(await opened(file(), { delta: true }));
      await expectSame(file().path);
    });

    it('goes on in place where it was stopped, and says how far it was', async () => {
      await writeFile(file().path, Buffer.alloc(100, 1));
      const first = await opened(file(), { delta: true });
      const from = await source();
      first.hole(0, 4);
      for (const index of [4, 5]) {
        const buffer = Buffer.alloc(CHUNK);
        await first.put(index, await from.readChunk(index, buffer, never), buffer, never);
      }
      await first.checkpoint(never);
      const state = JSON.parse(JSON.stringify(first.state)) as { chunks: number };
      expect(state).to.include({ chunks: 6, root: null });
      await first.close();
      await from.close();
      const { result, state: ended } = await restored(await opened(file(), { delta: true, resume: state }));
      expect(result.counters.bytesSent).to.equal(8 * CHUNK + 123 - CHUNK);
      await expectSame(file().path);
      const again = await opened(file(), { delta: true, resume: ended });
      expect(again.has(39)).to.equal(true);
      expect((await again.prepare(never)).rootDigest.equals(result.rootDigest)).to.equal(true);
      await again.close();
    });

    it('lies within the import roots, whatever links say', async () => {
      await writeFile(join(dir, 'precious'), 'p');
      await symlink(join(dir, 'precious'), join(root, 'link'));
      await symlink(dir, join(root, 'up'));
      for (const path of [join(root, 'link'), join(root, 'up/precious'), join(dir, 'precious'), join(root, '../precious')]) {
        expect(await codeOf(opened({ type: 'file', path }, { delta: true })), path).to.equal('path_not_allowed');
        expect(await codeOf(probeTarget(deps(), { target: { type: 'file', path }, size: 1, delta: true })), path).to.equal(
          'path_not_allowed',
        );
      }
      execFileSync('mkfifo', [join(root, 'fifo')]);
      expect(await codeOf(opened({ type: 'file', path: join(root, 'fifo') }, { delta: true }))).to.equal('target_not_a_file');
      expect(await codeOf(opened({ type: 'file', path: '/dev/null' }))).to.equal('path_not_allowed');
      expect(await readFile(join(dir, 'precious'), 'utf8')).to.equal('p');
    });

    it('is probed before it is accepted', async () => {
      const probe = (path: string, delta = false, size = SIZE) =>
        codeOf(probeTarget(deps(), { target: { type: 'file', path }, size, delta }));
      await writeFile(join(root, 'there'), 'x');
      expect(await probe(join(root, 'new'))).to.equal('none');
      expect(await probe(join(root, 'there'))).to.equal('target_exists');
      expect(await probe(join(root, 'there'), true)).to.equal('none');
      expect(await probe(join(root, 'no/new'))).to.equal('target_dir_missing');
      expect(await probe(join(root, 'new'), false, 2 ** 52)).to.equal('no_space');
      expect(await probe(join(root, 'there'), true, 2 ** 52)).to.equal('no_space');
      expect(await readFile(join(root, 'there'), 'utf8')).to.equal('x');
    });
  });

  describe('a block device', () => {
    let backing: string;
    let device: string;

    before(function () {
      const reason = noLoopDevices();
      if (reason === null) return;
      this.test?.parent?.eachTest((test) => {
        test.title += ` (${reason})`;
      });
      this.skip();
    });
    beforeEach(async () => {
      backing = join(dir, 'device.img');
      await writeFile(backing, Buffer.alloc(64 * CHUNK, 0xee));
      device = execFileSync('losetup', ['--find', '--show', backing], { encoding: 'utf8' }).trim();
      roots = new ImportRoots(['/dev']);
    });
    afterEach(() => execFileSync('losetup', ['--detach', device]));
    const target = () => ({ type: 'file' as const, path: device });

    it('is written in place, zeros too, and nothing past the block', async () => {
      await restored(await opened(target()));
      const whole = await readFile(backing);
      expect(whole.subarray(0, SIZE).equals(await readFile(image))).to.equal(true);
      expect(whole.subarray(SIZE).every((byte) => byte === 0xee)).to.equal(true);
      const { result } = await restored(await opened(target(), { delta: true }));
      expect(result.counters.bytesSent).to.equal(0);
    });

    it('is refused when it is too small, mounted, or outside of the roots', async () => {
      const probe = (size: number) => codeOf(probeTarget(deps(), { target: target(), size, delta: false }));
      expect(await probe(64 * CHUNK)).to.equal('none');
      expect(await probe(64 * CHUNK + 1)).to.equal('target_too_small');
      execFileSync('mkfs.ext4', ['-q', '-F', device]);
      const mountPoint = join(dir, 'mnt');
      await mkdir(mountPoint);
      execFileSync('mount', [device, mountPoint]);
      try {
        expect(await codeOf(opened(target()))).to.equal('target_busy');
        expect(await codeOf(opened(target(), { delta: true }))).to.equal('target_busy');
        expect(await probe(SIZE)).to.equal('target_busy');
      } finally {
        execFileSync('umount', [mountPoint]);
      }
      roots = new ImportRoots([root]);
      expect(await codeOf(opened(target()))).to.equal('path_not_allowed');
    });
  });

  describe('an NBD export', () => {
    let server: NbdServer | null = null;
    let disk: string;

    before(needsPeers('qemu-nbd', 'nbdkit'));
    beforeEach(async () => {
      disk = join(dir, 'export.img');
      await writeFile(disk, Buffer.alloc(64 * CHUNK, 0xee));
    });
    afterEach(() => server?.stop());

    for (const [name, start] of [
      ['nbdkit', () => nbdkit(join(dir, 's'), ['file', disk])],
      ['qemu-nbd', () => qemuNbd(join(dir, 's'), ['-f', 'raw', disk])],
    ] as const) {
      it(`of ${name} is written, and with delta only where it differs`, async () => {
        server = await start();
        const target = { type: 'nbd' as const, uri: server.uri };
        await probeTarget(deps(), { target, size: SIZE, delta: false });
        const first = await restored(await opened(target));
        await expectSame(disk);
        expect(first.result.counters.bytesSent).to.be.above(8 * CHUNK);
        const handle = await open(disk, 'r+');
        await handle.write('different', 6 * CHUNK + 1);
        await handle.write('different', 30 * CHUNK + 1);
        await handle.close();
        const { result } = await restored(await opened(target, { delta: true }));
        await expectSame(disk);
        expect(result.counters.bytesSent).to.equal(CHUNK);
        expect((await readFile(disk)).subarray(41 * CHUNK).every((byte) => byte === 0xee)).to.equal(true);
      });
    }

    it('is refused when it is read-only or too small', async () => {
      server = await nbdkit(join(dir, 's'), ['-r', 'file', disk]);
      const target = { type: 'nbd' as const, uri: server.uri };
      expect(await codeOf(opened(target))).to.equal('read_only');
      await server.stop();
      await rm(join(dir, 's'));
      server = await nbdkit(join(dir, 's'), ['memory', '1M']);
      expect(await codeOf(probeTarget(deps(), { target, size: SIZE, delta: true }))).to.equal('target_too_small');
    });
  });
});

/** Null where loop devices can be made here. */
function noLoopDevices(): string | null {
  if (process.getuid?.() !== 0) return 'needs root, for loop devices';
  try {
    execFileSync('losetup', ['--find'], { stdio: 'pipe' });
    return null;
  } catch (error) {
    return `needs loop devices: ${error instanceof Error ? error.message.replaceAll(/[()\n]/g, ' ').trim() : String(error)}`;
  }
}
