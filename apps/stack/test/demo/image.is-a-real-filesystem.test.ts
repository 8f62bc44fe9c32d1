import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { makeImage } from '../../src/demo/image.ts';

const MIB = 1024 ** 2;

describe('The disk image of demo and bench', () => {
  let dir: string;
  const signal = new AbortController().signal;
  const make = (size: number, fileBytes: number) =>
    makeImage({ path: join(dir, 'disk.img'), size, fileBytes, sources: [join(dir, 'files')], signal });

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'openservice-image-'));
    mkdirSync(join(dir, 'files'));
    for (let i = 0; i < 12; i++) writeFileSync(join(dir, 'files', `file-${i}`), Buffer.alloc(MIB, i + 1));
    symlinkSync('/etc/passwd', join(dir, 'files', 'link'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('is an ext4 filesystem that fsck finds clean, with holes, and nothing else is left behind', async () => {
    const image = await make(64 * MIB, 8 * MIB);
    expect(image.size).to.equal(64 * MIB);
    expect(image.files).to.equal(8);
    expect(image.dataBytes).to.be.within(8 * MIB, 32 * MIB);
    execFileSync('e2fsck', ['-f', '-n', image.path], { env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` }, stdio: 'pipe' });
    expect(readdirSync(dir).sort()).to.deep.equal(['disk.img', 'files']);
  });

  it('is refused in one sentence when this machine has too few files for it', async () => {
    const error = await make(1024 * MIB, 512 * MIB).then(
      () => null,
      (reason: { code: string }) => reason,
    );
    expect(error).to.have.property('code', 'no_files');
    expect(readdirSync(dir)).to.deep.equal(['files']);
  });

  it('that does not fit its files is an error that says what mke2fs said', async () => {
    const error = await make(8 * MIB, 12 * MIB).then(
      () => null,
      (reason: { code: string }) => reason,
    );
    expect(error).to.have.property('code', 'mke2fs_failed');
    expect(readdirSync(dir)).to.deep.equal(['files']);
  });
});
