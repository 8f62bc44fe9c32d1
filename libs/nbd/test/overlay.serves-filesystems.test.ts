/** A disk over a base, used as disks are: a filesystem, databases' checks, many connections, a server that is killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LayeredDisk, MemoryDevice } from '@openservice/nbd';
import { needsPeers } from '@openservice/testkit';
import { expect } from 'chai';
import { run, type Served, serve } from './support/serve.ts';

const MIB = 1024 * 1024;

describe('a disk over a base, used by real programs', function () {
  this.timeout(120_000);
  let dir: string;
  let served: Served | null = null;

  before(needsPeers('fio', 'mke2fs', 'e2fsck', 'debugfs', 'qemu-img', 'qemu-io', 'nbdcopy'));
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'openservice-overlay-'));
  });
  afterEach(async () => {
    await served?.stop();
    served = null;
    await rm(dir, { recursive: true, force: true });
  });

  it('fio writes and verifies with crc32c over four connections, while it is held still and let go', async () => {
    const base = new MemoryDevice(64 * MIB, { readOnly: true });
    base.bytes.fill(0xbb);
    const disk = await LayeredDisk.open(join(dir, 'disk'), base, { shortWaitBytes: MIB });
    served = await serve(disk);
    const fio = run(
      'fio',
      '--name=verified',
      '--ioengine=nbd',
      `--uri=${served.uri}`,
      '--rw=randwrite',
      '--bsrange=512-64k',
      '--blockalign=512',
      '--iodepth=16',
      '--numjobs=4',
      '--size=12m',
      '--offset_increment=16m',
      '--verify=crc32c',
      '--verify_state_save=0',
      '--verify_fatal=1',
      // Its state files go here, not where the tests are run.
      `--aux-path=${dir}`,
      '--randseed=20261124',
      '--fsync=64',
    );
    let ended = false;
    const done = fio.finally(() => {
      ended = true;
    });
    let rounds = 0;
    for (; !ended; rounds++) {
      const frozen = await disk.freeze();
      const [first, second] = [Buffer.alloc(64 * MIB), Buffer.alloc(64 * MIB)];
      await frozen.device.read(0, first);
      await frozen.device.read(0, second);
      expect(first.equals(second), 'it is held still').to.equal(true);
      await frozen.release();
    }
    await done;
    expect(rounds).to.be.greaterThan(0);
    // Between the parts that the jobs wrote, the base is as it was.
    const rest = Buffer.alloc(4 * MIB);
    await disk.read(12 * MIB, rest);
    expect(rest.every((byte) => byte === 0xbb)).to.equal(true);
    await disk.close();
  });

  it('a filesystem: made elsewhere, changed here, whole for e2fsck, and as it was once it is rewound', async () => {
    const [made, changed, out] = [join(dir, 'made.img'), join(dir, 'changed.img'), join(dir, 'out.img')];
    await writeFile(join(dir, 'one'), 'the first file\n'.repeat(5000));
    await writeFile(join(dir, 'two'), 'the second file\n'.repeat(9000));
    await (await open(made, 'w')).close();
    await truncate(made, 32 * MIB);
    await run('mke2fs', '-q', '-t', 'ext4', '-F', made);
    await run('debugfs', '-w', '-R', `write ${join(dir, 'one')} one`, made);
    const base = new MemoryDevice(32 * MIB, { readOnly: true });
    (await readFile(made)).copy(base.bytes);
    const disk = await LayeredDisk.open(join(dir, 'disk'), base);
    served = await serve(disk);
    // Changed on a copy that came through the server; what it became goes back through it.
    await run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', served.uri, changed);
    await run('debugfs', '-w', '-R', `write ${join(dir, 'two')} two`, changed);
    await run('debugfs', '-w', '-R', 'rm one', changed);
    await run('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', changed, served.uri);
    const look = async (): Promise<string> => {
      await rm(out, { force: true });
      await run('nbdcopy', served!.uri, out);
      await run('e2fsck', '-fn', out);
      return run('debugfs', '-R', 'ls -p /', out);
    };
    const after = await look();
    expect(after).to.include('/two/').and.not.to.include('/one/');
    expect(await run('debugfs', '-R', 'cat two', out)).to.equal('the second file\n'.repeat(9000));
    await run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', served.uri, changed);
    await disk.rewind();
    expect(await look())
      .to.include('/one/')
      .and.not.to.include('/two/');
    await disk.close();
  });

  describe('and killed', () => {
    let child: ChildProcess | null = null;
    const script = new URL('./support/overlay-server.ts', import.meta.url).pathname;

    async function start(): Promise<string> {
      const socket = join(dir, 's');
      child = spawn(process.execPath, [script, socket, join(dir, 'disk'), String(16 * MIB)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await Promise.race([
        once(child.stdout!, 'data'),
        once(child, 'exit').then(([code]) => {
          throw new Error(`the server ended with ${code}`);
        }),
      ]);
      return `nbd+unix:///disk?socket=${socket}`;
    }

    async function kill(): Promise<void> {
      if (child === null || child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    afterEach(kill);

    function qemuIo(uri: string, ...words: string[]): Promise<string> {
      return run('qemu-io', '-f', 'raw', '-t', 'writeback', ...words.flatMap((word) => ['-c', word]), uri);
    }

    it('qemu-io reads back what it flushed before SIGKILL; zeroed and discarded places stay zeros', async () => {
      await qemuIo(await start(), 'write -P 0xaa 1000 70000', 'write -z 1M 1M', 'discard 3M 64k', 'write -P 0xbb 9M 3k', 'flush');
      await kill();
      const out = await qemuIo(
        await start(),
        'read -P 1 0 1000',
        'read -P 0xaa 1000 70000',
        'read -P 0 1M 1M',
        'read -P 0 3M 64k',
        'read -P 1 2M 1M',
        'read -P 0xbb 9M 3k',
        'read -P 0 10M 6M',
      );
      expect(out).not.to.include('verification failed');
      expect(out.match(/^read /gm)).to.have.length(7);
    });

    it('killed in the middle of writes, again and again: what each FUA write said is there', async () => {
      for (let round = 1; round <= 4; round++) {
        const uri = await start();
        const [mine, before] = [round * 20, (round - 1) * 20];
        await qemuIo(uri, `write -f -P ${mine} ${round}M 300k`, `write -f -z ${8 + round}M 5000`);
        const storm = run(
          'qemu-io',
          '-f',
          'raw',
          '-t',
          'writeback',
          ...Array.from({ length: 400 }, () => ['-c', 'write -P 7 15M 64k']).flat(),
          uri,
        );
        await new Promise(setImmediate);
        await kill();
        await storm.catch(() => undefined);
        const again = await start();
        const checks = [`read -P ${mine} ${round}M 300k`, `read -P 0 ${8 + round}M 5000`];
        if (before > 0) checks.push(`read -P ${before} ${round - 1}M 300k`);
        expect(await qemuIo(again, ...checks)).not.to.include('verification failed');
        await kill();
      }
    });
  });
});
