import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CancelledError } from '@openservice/domain';
import { expect } from 'chai';
import { inFolder } from '../src/fs/folder-lock.ts';
import { codeOf, thrown } from './conformance/suite.ts';

const signal = new AbortController().signal;
const HOLDER = `
  import { inFolder } from ${JSON.stringify(new URL('../src/fs/folder-lock.ts', import.meta.url).href)};
  await inFolder(process.argv[1], new AbortController().signal, async () => {
    process.stdout.write('held');
    await new Promise((done) => process.stdin.once('data', done));
  });
  process.exit();
`;

describe('the lock of a folder', function () {
  this.timeout(20_000);
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'openservice-lock-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('lets one in at a time, and the next when a step fails', async () => {
    let inside = 0;
    const steps = Array.from({ length: 8 }, (_, i) =>
      inFolder(folder, signal, async () => {
        expect(++inside).to.equal(1);
        await new Promise(setImmediate);
        inside--;
        if (i % 2 === 1) throw new Error('a step that fails');
        return i;
      }),
    );
    const ended = await Promise.allSettled(steps);
    expect(ended.map(({ status }) => status)).to.deep.equal(
      Array.from({ length: 8 }, (_, i) => (i % 2 ? 'rejected' : 'fulfilled')),
    );
  });

  it('is held by another process until that ends, killed or not; who waits can be stopped', async () => {
    for (const kill of [true, false]) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', HOLDER, folder], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      const stop = new AbortController();
      const stopped = thrown(inFolder(folder, stop.signal, async () => {}));
      let entered = false;
      const waiting = inFolder(folder, signal, async () => {
        entered = true;
      });
      stop.abort();
      expect(await stopped).to.be.instanceOf(CancelledError);
      expect(entered).to.equal(false);
      if (kill) child.kill('SIGKILL');
      else child.stdin.write('go\n');
      await waiting;
      expect(entered).to.equal(true);
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
  });

  it('needs the folder', async () => {
    expect(await codeOf(inFolder(join(folder, 'none'), signal, async () => {}))).to.equal('ENOENT');
  });
});
