import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FileExtent, fileExtents } from '@openservice/pools';
import { expect } from 'chai';

describe('fileExtents', () => {
  const signal = new AbortController().signal;
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'openservice-extents-'));
  });
  after(() => rm(folder, { recursive: true }));

  it('finds the data of a 1 TiB file without reading it', async () => {
    const file = await open(join(folder, 'sparse'), 'w+');
    try {
      await file.write(Buffer.alloc(65536, 1), 0, 65536, 0);
      await file.write(Buffer.alloc(65536, 2), 0, 65536, 700 * 2 ** 30);
      await file.truncate(2 ** 40);
      const all = await collect(file.fd, 0);
      // A filesystem without holes answers all of the file: true, only slow.
      if (all.length === 1) expect(all[0]).to.deep.equal({ offset: 0, length: 2 ** 40 });
      else {
        expect(all).to.deep.equal([
          { offset: 0, length: 65536 },
          { offset: 700 * 2 ** 30, length: 65536 },
        ]);
        expect(await collect(file.fd, 4096)).to.deep.include({ offset: 4096, length: 61440 });
        expect(await collect(file.fd, 800 * 2 ** 30)).to.deep.equal([]);
      }
    } finally {
      await file.close();
    }
  });

  it('finds nothing in an empty file and in one of holes alone', async () => {
    const file = await open(join(folder, 'empty'), 'w+');
    expect(await collect(file.fd, 0)).to.deep.equal([]);
    await file.truncate(2 ** 30);
    expect((await collect(file.fd, 0)).length).to.be.at.most(1);
    await file.close();
  });

  async function collect(fd: number, from: number): Promise<FileExtent[]> {
    const found: FileExtent[] = [];
    for await (const extent of fileExtents(fd, from, signal)) found.push(extent);
    return found;
  }
});
