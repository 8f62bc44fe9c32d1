import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { freshDirectory } from '../../src/demo/fresh-directory.ts';
import { demoArguments } from '../../src/demo/options.ts';

describe('The demo', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'openservice-demo-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('wipes what an earlier demo left', () => {
    freshDirectory(dir);
    writeFileSync(join(dir, 'old'), '');
    freshDirectory(dir);
    expect(existsSync(join(dir, 'old'))).to.equal(false);
  });

  it('never wipes a directory that holds something else', () => {
    writeFileSync(join(dir, 'thesis.txt'), 'the only copy');
    expect(() => freshDirectory(dir)).to.throw(/holds something else/);
    expect(existsSync(join(dir, 'thesis.txt'))).to.equal(true);
  });

  it('does not wipe the directory of a demo that runs', () => {
    freshDirectory(dir);
    writeFileSync(join(dir, 'stack.pid'), `${process.pid}\n`);
    expect(() => freshDirectory(dir)).to.throw(/runs in .* already/);
  });

  it('takes sizes as people write them, and says what it wants otherwise', () => {
    expect(demoArguments(['--', '--size', '3g', '--keep'])).to.include({ size: 3 * 1024 ** 3, keep: true });
    for (const size of ['', '1', '-5', 'big', '999MiB', '9PiB'])
      expect(() => demoArguments([`--size=${size}`])).to.throw(/--size/);
    expect(() => demoArguments(['--sise', '2g'])).to.throw(/Usage: npm run demo/);
  });
});
