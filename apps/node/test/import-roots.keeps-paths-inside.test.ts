import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { ImportRoots } from '../src/import-roots.ts';

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'none';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('import roots', () => {
  let dir: string;
  let root: string;
  let roots: ImportRoots;
  beforeEach(async () => {
    dir = await realpath(await mkdtemp(join(tmpdir(), 'os-roots-')));
    root = join(dir, 'root');
    await mkdir(join(root, 'sub'), { recursive: true });
    await writeFile(join(root, 'disk.img'), 'abc');
    await writeFile(join(dir, 'secret'), 's');
    roots = new ImportRoots([root]);
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it('opens a file within a root, also by a link that stays inside', async () => {
    await symlink(join(root, 'disk.img'), join(root, 'link'));
    for (const name of ['disk.img', 'link', 'sub/../disk.img']) {
      const source = await roots.openSource(join(root, name));
      await source.handle.close();
      expect(source.size).to.equal(3);
      expect(source.realPath).to.equal(join(root, 'disk.img'));
    }
  });

  it('follows a root that is itself a link', async () => {
    await symlink(root, join(dir, 'alias'));
    const source = await new ImportRoots([join(dir, 'alias')]).openSource(join(dir, 'alias', 'disk.img'));
    await source.handle.close();
    expect(source.size).to.equal(3);
  });

  it('refuses what lies outside, by a path, by dots, by a link to a file, and by a link to a directory', async () => {
    await symlink(join(dir, 'secret'), join(root, 'evil'));
    await symlink(dir, join(root, 'up'));
    const outside = [
      join(dir, 'secret'),
      `${root}/../secret`,
      join(root, 'evil'),
      join(root, 'up/secret'),
      'disk.img',
      `${root}/a\0b`,
      `${root}2/x`,
      root,
    ];
    for (const path of outside) expect(await codeOf(roots.openSource(path)), path).to.equal('path_not_allowed');
  });

  it('does not tell whether a file outside is there', async () => {
    expect(await codeOf(roots.openSource(join(dir, 'nothing')))).to.equal('path_not_allowed');
    expect(await codeOf(roots.resolveTarget(join(dir, 'nothing/new')))).to.equal('path_not_allowed');
  });

  it('says what is wrong with a source', async () => {
    expect(await codeOf(roots.openSource(join(root, 'nothing')))).to.equal('source_not_found');
    expect(await codeOf(roots.openSource(join(root, 'disk.img/x')))).to.equal('source_not_found');
    expect(await codeOf(roots.openSource(join(root, 'sub')))).to.equal('source_not_a_file');
    execFileSync('mkfifo', [join(root, 'fifo')]);
    expect(await codeOf(roots.openSource(join(root, 'fifo')))).to.equal('source_not_a_file');
  });

  it('allows a target in a directory that is there, and no other', async () => {
    expect(await roots.resolveTarget(join(root, 'sub/new.img'))).to.equal(join(root, 'sub/new.img'));
    expect(await codeOf(roots.resolveTarget(join(root, 'disk.img')))).to.equal('target_exists');
    expect(await codeOf(roots.resolveTarget(join(root, 'no/new.img')))).to.equal('target_dir_missing');
    await symlink(dir, join(root, 'up'));
    await symlink(join(dir, 'dangling'), join(root, 'dangling'));
    expect(await codeOf(roots.resolveTarget(join(root, 'up/new.img')))).to.equal('path_not_allowed');
    expect(await codeOf(roots.resolveTarget(join(root, 'dangling')))).to.equal('target_exists');
    expect(await codeOf(roots.resolveTarget(`${root}/`))).to.equal('path_not_allowed');
    expect(await codeOf(roots.resolveTarget(`${root}/sub/..`))).to.equal('path_not_allowed');
  });
});
