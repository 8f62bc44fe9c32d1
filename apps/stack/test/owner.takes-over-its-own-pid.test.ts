import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { ownDirectory } from '../src/supervisor/owner.ts';

describe('the owner of a directory', () => {
  const dir = mkdtempSync(join(tmpdir(), 'openservice-owner-'));
  after(() => rmSync(dir, { recursive: true, force: true }));

  it('takes over a file of before that holds its own pid, as after a restart of a container', () => {
    writeFileSync(join(dir, 'stack.pid'), `${process.pid}\n`);
    const letGo = ownDirectory(dir);
    expect(() => ownDirectory(dir)).throw(`pid ${process.pid}`);
    letGo();
    expect(existsSync(join(dir, 'stack.pid'))).equal(false);
  });
});
