import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { copyFile, mkdir, open, readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { IMAGE_FORMATS, type ImageFormat } from '@openservice/protocol';
import { needsPeers, qemuNbd } from '@openservice/testkit';
import { expect } from 'chai';
import { openSource, probeSource } from '../src/sources/open-source.ts';
import { CHUNK, failureOf, makeSite, never, readAll, type Site } from './sources.support.ts';

const SIZE = 64 * CHUNK;
const DATA_AT = 20 * CHUNK;

describe('images as sources', () => {
  let site: Site;
  let raw: string;
  let bytes: Buffer;

  before(needsPeers('qemu-nbd', 'qemu-img'));
  beforeEach(async () => {
    site = await makeSite();
    raw = join(site.dir, 'disk.raw');
    const handle = await open(raw, 'w');
    await handle.truncate(SIZE);
    await handle.write(randomBytes(3 * CHUNK), 0, 3 * CHUNK, DATA_AT);
    await handle.close();
    bytes = await readFile(raw);
  });
  afterEach(() => site.remove());

  const at = (name: string) => join(site.root, name);
  const img = (...args: string[]) => execFileSync('qemu-img', args, { cwd: site.root, stdio: ['ignore', 'ignore', 'pipe'] });
  const probe = (path: string, format: ImageFormat | null = null) =>
    probeSource(site.deps, { type: 'file', path, format }, never);
  const opened = (path: string, format: ImageFormat, size = SIZE, before: unknown = null) => {
    const ref = { type: 'file' as const, node_id: 'n', path, format };
    return openSource(site.deps, ref, { id: 'block-1', size, chunkSize: CHUNK }, before, never);
  };
  async function content(path: string, format: ImageFormat, size = SIZE) {
    const source = await opened(path, format, size);
    try {
      return await readAll(source);
    } finally {
      await source.close();
    }
  }

  for (const [format, options] of [
    ['qcow2', ''],
    ['qcow2', 'compat=0.10'],
    ['vmdk', 'subformat=monolithicSparse'],
    ['vmdk', 'subformat=streamOptimized'],
    ['vmdk', 'subformat=twoGbMaxExtentFlat'],
    ['vmdk', 'subformat=twoGbMaxExtentSparse'],
    ['vpc', 'subformat=dynamic,force_size=on'],
    ['vpc', 'subformat=fixed,force_size=on'],
    ['vhdx', ''],
  ] as const) {
    it(`recognises ${format} (${options || 'as qemu makes it'}), and reads the disk in it`, async () => {
      img('convert', '-O', format, ...(options === '' ? [] : ['-o', options]), raw, at('image'));
      const asked = format === 'vmdk' && options.includes('twoGb') ? format : null;
      expect(await probe(at('image'), asked)).to.include({ format, size: SIZE });
      const { bytes: read, read: chunks } = await content(at('image'), format);
      expect(read.equals(bytes)).to.equal(true);
      // A fixed VHD and flat extents may tell all as data, and a VHDX has blocks larger than this disk; the others know their holes.
      if (format !== 'vhdx' && !options.includes('fixed') && !options.includes('Flat')) expect(chunks.length).to.be.below(40);
      expect(await readdir(site.deps.scratchDir)).to.deep.equal([]);
    });
  }

  it('reads an image as plain bytes when told that it is raw', async () => {
    img('convert', '-O', 'qcow2', raw, at('image'));
    const { size } = await stat(at('image'));
    expect(await probe(at('image'), 'raw')).to.include({ format: 'raw', size });
    expect((await content(at('image'), 'raw', size)).bytes.equals(await readFile(at('image')))).to.equal(true);
  });

  it('refuses by name a format that the image is not in', async () => {
    img('convert', '-O', 'qcow2', raw, at('image'));
    await copyFile(raw, at('plain'));
    expect(await probe(at('plain'))).to.include({ format: 'raw', size: SIZE });
    for (const format of IMAGE_FORMATS.filter((name) => name !== 'raw' && name !== 'qcow2')) {
      expect(await failureOf(probe(at('image'), format)), format).to.include({ code: 'image_format_mismatch' });
      expect(await failureOf(opened(at('image'), format)), format).to.include({ code: 'image_format_mismatch' });
    }
    expect((await failureOf(probe(at('plain'), 'qcow2'))).message).to.contain('in format qcow2, but is in format raw');
  });

  it('reads a chain of backing files within the roots, when told the format', async () => {
    await mkdir(at('base'));
    img('convert', '-O', 'qcow2', raw, at('base/one'));
    img('create', '-f', 'qcow2', '-b', 'base/one', '-F', 'qcow2', at('two'));
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 0x61 1M 64k', at('two')], { stdio: 'ignore' });
    img('create', '-f', 'qcow2', '-b', at('two'), '-F', 'qcow2', at('three'));
    const expected = Buffer.from(bytes).fill(0x61, 16 * CHUNK, 17 * CHUNK);
    expect(await probe(at('three'), 'qcow2')).to.include({ size: SIZE });
    expect((await content(at('three'), 'qcow2')).bytes.equals(expected)).to.equal(true);
    // A guest can write such a header onto its raw disk.
    expect(await failureOf(probe(at('three')))).to.include({ code: 'image_format_needed' });
    const source = await opened(at('three'), 'qcow2');
    await utimes(at('base/one'), 1, 1);
    expect(await failureOf(source.assertUnchanged())).to.include({ code: 'source_changed' });
    await source.close();
  });

  it('refuses files outside of the roots, however an image names them', async () => {
    await symlink(raw, at('link'));
    for (const backing of [
      raw,
      '../disk.raw',
      'link',
      `json:{"driver":"raw","file":{"driver":"file","filename":"${raw}"}}`,
      'nbd:localhost:1',
    ]) {
      img('create', '-f', 'qcow2', '-u', '-b', backing, '-F', 'raw', at('image'), '4M');
      const error = await failureOf(opened(at('image'), 'qcow2'));
      expect(error, backing).to.include({ code: 'path_not_allowed' });
      expect(error.message).to.contain('backing file');
      expect(await failureOf(probe(at('image'), 'qcow2')), backing).to.include({ code: 'path_not_allowed' });
    }
    await copyFile(raw, at('inside'));
    img('create', '-f', 'qcow2', '-u', '-b', 'inside', '-F', 'raw', at('guess'), '4M');
    const { length } = await readFile(at('guess'));
    const image = await open(at('guess'), 'r+');
    const formatName = (await readFile(at('guess'))).indexOf(Buffer.from('e2792aca', 'hex'));
    expect(formatName).to.be.within(1, length);
    // Without the extension that names the backing file's format.
    await image.write(Buffer.from('12345678', 'hex'), 0, 4, formatName);
    await image.close();
    const error = await failureOf(opened(at('guess'), 'qcow2'));
    expect(error).to.include({ code: 'image_format_unsupported' });
    expect(error.message).to.contain('qemu-img rebase');
  });

  it('reads the data file of a qcow2 within the roots, and none outside', async () => {
    img('create', '-f', 'qcow2', '-o', 'data_file=data.raw,data_file_raw=on', at('image'), String(SIZE));
    await copyFile(raw, at('data.raw'));
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 0x62 2M 64k', at('image')], { cwd: site.root, stdio: 'ignore' });
    const { bytes: read } = await content(at('image'), 'qcow2');
    expect(read.subarray(32 * CHUNK, 33 * CHUNK).every((byte) => byte === 0x62)).to.equal(true);
    const image = await readFile(at('image'));
    await writeFile(at('evil'), Buffer.from(image.toString('latin1').replace('data.raw', '../x.raw'), 'latin1'));
    await writeFile(join(site.dir, 'x.raw'), bytes);
    expect(await failureOf(opened(at('evil'), 'qcow2'))).to.include({ code: 'path_not_allowed' });
  });

  it('refuses extents of a VMDK outside of the roots, and snapshots that stand on a parent', async () => {
    img('convert', '-O', 'vmdk', '-o', 'subformat=monolithicFlat', raw, at('image'));
    // Qemu fills it up with zeros.
    const text = (await readFile(at('image'), 'utf8')).replace(/\0.*$/s, '');
    await copyFile(at('image-flat'), join(site.dir, 'secret'));
    for (const [extent, code] of [
      ['RW 8192 FLAT "../secret" 0', 'path_not_allowed'],
      [`RW 8192 FLAT "${join(site.dir, 'secret')}" 0`, 'path_not_allowed'],
      ['RW 8192 FLAT "nbd:localhost:1" 0', 'path_not_allowed'],
      // Qemu takes any blank before a line, and reads on over its end.
      [' RW 8192 FLAT "../secret" 0', 'path_not_allowed'],
      ['\t\rRW 8192 FLAT "../secret" 0', 'path_not_allowed'],
      ['RW\n8192 FLAT "../secret" 0', 'image_format_unsupported'],
      ['RDONLY 8192 FLAT "image-flat" 0', 'image_format_unsupported'],
      ['RW 8192 SPARSE "image" 0', 'image_format_unsupported'],
      ['RW 8192 MYSTERY "image-flat" 0', 'image_format_unsupported'],
    ] as const) {
      await writeFile(at('evil'), text.replace(/^RW .*$/m, extent));
      expect(await failureOf(opened(at('evil'), 'vmdk')), extent).to.include({ code });
    }
    await writeFile(at('snapshot'), text.replace(/parentCID=ffffffff/, 'parentCID=12345678'));
    expect((await failureOf(opened(at('snapshot'), 'vmdk'))).message).to.contain('consolidate');
    await writeFile(at('hint'), `${text}\nparentFileNameHint="${join(site.dir, 'secret')}"\n`);
    expect(await failureOf(opened(at('hint'), 'vmdk'))).to.include({ code: 'image_format_unsupported' });
  });

  it('refuses a VHD of differences, whose parent qemu would leave out', async () => {
    img('convert', '-O', 'vpc', '-o', 'subformat=dynamic,force_size=on', raw, at('image'));
    const image = await readFile(at('image'));
    for (const footer of [image.subarray(0, 512), image.subarray(-512)]) {
      footer.writeUInt32BE(4, 60);
      footer.writeUInt32BE(0, 64);
      footer.writeUInt32BE(~footer.reduce((sum, byte) => sum + byte, 0) >>> 0, 64);
    }
    await writeFile(at('image'), image);
    expect((await failureOf(opened(at('image'), 'vpc'))).message).to.contain('merge them first');
  });

  it('refuses damaged images in a sentence, and leaves no qemu-nbd behind', async () => {
    img('convert', '-O', 'qcow2', raw, at('image'));
    const image = await readFile(at('image'));
    image.writeUInt32BE(99, 20);
    await writeFile(at('image'), image);
    expect(await failureOf(opened(at('image'), 'qcow2'))).to.include({ code: 'image_damaged' });
    await writeFile(at('short'), image.subarray(0, 50));
    expect(await failureOf(opened(at('short'), 'qcow2'))).to.include({ code: 'image_damaged' });
    await writeFile(at('vhdx'), Buffer.concat([Buffer.from('vhdxfile'), randomBytes(1_000_000)]));
    const error = await failureOf(opened(at('vhdx'), 'vhdx'));
    expect(error).to.include({ code: 'image_unreadable' });
    expect(error.message).to.contain('qemu-nbd cannot read');
    expect(await readdir(site.deps.scratchDir)).to.deep.equal([]);
  });

  it('says what to install where qemu-nbd is not', async () => {
    img('convert', '-O', 'qcow2', raw, at('image'));
    const error = await failureOf(
      openSource(
        { ...site.deps, findQemu: async () => null },
        { type: 'file', node_id: 'n', path: at('image'), format: 'qcow2' },
        { id: 'block-1', size: SIZE, chunkSize: CHUNK },
        null,
        never,
      ),
    );
    expect(error).to.include({ code: 'image_format_unsupported' });
    expect(error.message).to.contain('install qemu-utils');
  });

  it('knows that an image is not what an earlier run began to read', async () => {
    img('convert', '-O', 'qcow2', raw, at('image'));
    const source = await opened(at('image'), 'qcow2');
    const identity = JSON.parse(JSON.stringify(source.identity)) as unknown;
    await source.close();
    await (await opened(at('image'), 'qcow2', SIZE, identity)).close();
    await utimes(at('image'), 1, 1);
    expect(await failureOf(opened(at('image'), 'qcow2', SIZE, identity))).to.include({ code: 'source_changed' });
    expect(await failureOf(opened(at('image'), 'qcow2', SIZE + 512))).to.include({ code: 'source_changed' });
  });

  it('leaves alone an image that a running machine writes to', async () => {
    img('convert', '-O', 'qcow2', raw, at('image'));
    const machine = await qemuNbd(join(site.dir, 's'), ['-f', 'qcow2', at('image')]);
    try {
      const error = await failureOf(opened(at('image'), 'qcow2'));
      expect(error).to.include({ code: 'image_in_use' });
      expect(error.message).to.contain('stop it');
    } finally {
      await machine.stop();
    }
    await (await opened(at('image'), 'qcow2')).close();
  });

  it('can be tried again when qemu-nbd dies on the way', async () => {
    img('convert', '-O', 'qcow2', raw, at('image'));
    const source = await opened(at('image'), 'qcow2');
    const [directory] = await readdir(site.deps.scratchDir);
    const socket = join(site.deps.scratchDir, directory ?? '', 's');
    const pid = (await readdir('/proc'))
      .filter((name) => /^[0-9]+$/.test(name))
      .find((name) => commandLine(name).includes(socket));
    process.kill(Number(pid), 'SIGKILL');
    const error = await failureOf(source.readChunk(20, Buffer.alloc(CHUNK), never));
    expect(error).to.include({ code: 'unreachable', outcome: 'transient' });
    await source.close();
    expect(await readdir(site.deps.scratchDir)).to.deep.equal([]);
  });
});

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    // It has ended since it was listed.
    return '';
  }
}
