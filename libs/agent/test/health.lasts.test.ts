import { mkdir, rm, rmdir, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { createLog } from '@openservice/runtime';
import { expect } from 'chai';
import { type Check, Health } from '../src/health.ts';
import { diskCheck, journalCheck, redisCheck } from '../src/health-checks.ts';
import { NatsServer, needsServers, REDIS_URL } from './support/servers.ts';
import { StandInCenter } from './support/stand-in-center.ts';
import { deferred, RESULT, startToyNode, tempDir } from './support/toy.ts';

class HandCheck implements Check {
  readonly name: string;
  how: 'good' | 'bad' | 'hangs' = 'good';
  asked = 0;
  #hanging: (() => void)[] = [];

  constructor(name: string) {
    this.name = name;
  }

  async probe(): Promise<void> {
    this.asked++;
    if (this.how === 'bad') throw new Error('it is broken');
    if (this.how === 'hangs') await new Promise<void>((resolve) => this.#hanging.push(resolve));
  }

  letGo(): void {
    this.how = 'good';
    for (const go of this.#hanging.splice(0)) go();
  }
}

async function failure(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => '',
    (error: Error) => error.message,
  );
}

describe('health of a node', () => {
  const log = createLog({ name: 'health', level: 'silent' });
  let wells = 0;
  const health = (...checks: Check[]) => new Health({ checks, everyMs: 1000, limitMs: 20, log, onWell: () => wells++ });

  it('changes with the second answer in a row, not with one', async () => {
    wells = 0;
    const check = new HandCheck('The disk');
    const one = health(check);
    const seen: boolean[] = [];
    for (const how of ['good', 'bad', 'good', 'bad', 'bad', 'good', 'bad', 'good', 'good'] as const) {
      check.how = how;
      await one.pass();
      seen.push(one.reason === null);
    }
    expect(seen).to.deep.equal([true, true, true, true, false, false, false, false, true]);
    expect(wells).to.equal(1);
  });

  it('says why, once in the log and as long as it lasts', async () => {
    const lines: string[] = [];
    const told = { ...log, error: (_: unknown, text: string) => lines.push(text), info: (text: string) => lines.push(text) };
    const check = new HandCheck('The disk');
    const one = new Health({ checks: [check], everyMs: 1000, limitMs: 20, log: told as never, onWell: () => undefined });
    check.how = 'bad';
    for (let i = 0; i < 5; i++) await one.pass();
    expect(one.reason).to.include('The disk is not usable').and.to.include('it is broken');
    check.how = 'good';
    for (let i = 0; i < 5; i++) await one.pass();
    expect(lines).to.deep.equal(['The node is unwell: it sends no heartbeat until that is mended.', 'The node is well again.']);
  });

  it('takes a probe that hangs for a bad one, and does not start it twice, nor those behind it', async () => {
    const [disk, journal] = [new HandCheck('The disk'), new HandCheck('The journal')];
    const one = health(disk, journal);
    disk.how = 'hangs';
    for (let i = 0; i < 3; i++) await one.pass();
    expect(one.reason).to.include('nothing came back');
    expect([disk.asked, journal.asked]).to.deep.equal([1, 0]);
    disk.letGo();
    for (let i = 0; i < 3; i++) await one.pass();
    expect(one.reason).to.equal(null);
    expect(journal.asked).to.be.at.least(2);
  });

  describe('its checks', () => {
    let dir: Awaited<ReturnType<typeof tempDir>>;
    beforeEach(async () => {
      dir = await tempDir();
    });
    afterEach(() => dir.remove());

    it('find a disk good that takes what is written in place, and tell one without room for that and one that is gone', async () => {
      const check = diskCheck(dir.path);
      const path = join(dir.path, 'health.probe');
      await check.probe();
      const { ino, size, blocks } = await stat(path);
      await check.probe();
      expect(await stat(path)).to.include({ ino, size, blocks });
      await rm(path);
      await symlink('/dev/full', path);
      expect(await failure(check.probe())).to.include('ENOSPC');
      expect(await failure(diskCheck(join(dir.path, 'gone')).probe())).to.include('ENOENT');
    });

    it('write to the journal only after it failed', async () => {
      let writes = 0;
      const journal = { healthy: true, tryWrite: () => void writes++ };
      await journalCheck(journal).probe();
      expect(writes).to.equal(0);
      journal.healthy = false;
      await journalCheck(journal).probe();
      expect(writes).to.equal(1);
    });

    it('let Redis be away for a while, but not for long', async () => {
      let now = 0;
      let answer = deferred();
      const check = redisCheck(
        () => answer.promise,
        60_000,
        () => now,
      );
      now = 59_000;
      await check.probe();
      now = 61_000;
      expect(await failure(check.probe())).to.include('61 s');
      answer.resolve();
      await answer.promise;
      await new Promise((resolve) => setImmediate(resolve));
      await check.probe();
      answer = deferred();
      now = 200_000;
      expect(await failure(check.probe())).to.include('139 s');
    });
  });
});

/** A directory stands where the probe is written; again where a probe was just made. */
async function blockProbe(dataDir: string): Promise<void> {
  const path = join(dataDir, 'health.probe');
  const isThere = async () => {
    await rm(path, { force: true });
    return await mkdir(path).then(
      () => true,
      () => false,
    );
  };
  while (!(await isThere()));
}

describe('agent on a disk that does not work', function () {
  this.timeout(20_000);
  let nats: NatsServer;
  before(async function () {
    needsServers(this);
    nats = await NatsServer.start();
  });
  after(() => nats?.stop());

  it('sends no heartbeat, so that its lease ends, and is back when the disk is', async () => {
    const dir = await tempDir();
    const center = await StandInCenter.start(nats.url, `unwell-${process.pid}`);
    center.leaseMs = 700;
    const lost = deferred();
    const back = deferred();
    const options = { natsUrl: nats.url, redisUrl: REDIS_URL ?? '', nodeId: center.nodeId, dataDir: dir.path };
    const node = await startToyNode({
      ...options,
      healthEveryMs: 20,
      toy: {
        run: async (context) => {
          await context.awaitLease();
          await blockProbe(dir.path);
          for (let isLost = false; !isLost; await new Promise((resolve) => setTimeout(resolve, 20))) {
            try {
              context.assertLease();
            } catch {
              isLost = true;
            }
          }
          lost.resolve();
          await back.promise;
          await context.awaitLease();
          context.assertLease();
          return RESULT;
        },
      },
    });
    try {
      await center.run('job-a');
      await lost.promise;
      expect(node.agent.unwell).to.include('health.probe');
      const syncs = center.syncs;
      await rmdir(join(dir.path, 'health.probe'));
      await center.until(() => center.syncs > syncs);
      expect(node.agent.unwell).to.equal(null);
      back.resolve();
      await center.until(() => center.find('job-a', 'succeeded') !== undefined);
    } finally {
      await node.stop();
      await center.stop();
      await dir.remove();
    }
  });
});
