import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { compareFiles } from '../../src/demo/compare.ts';

const SIZE = 9 * 1024 ** 2 + 17;

describe('Comparing two files', () => {
  let dir: string;
  let left: string;
  let right: string;
  const signal = new AbortController().signal;
  const difference = async (): Promise<string> =>
    compareFiles(left, right, () => undefined, signal).then(
      () => 'equal',
      (error: Error) => error.message,
    );

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'openservice-compare-'));
    [left, right] = [join(dir, 'left'), join(dir, 'right')];
    for (const path of [left, right]) writeFileSync(path, Buffer.alloc(SIZE, 7));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('answers the bytes of equal files, and tells of every one on the way', async () => {
    let told = 0;
    const bytes = await compareFiles(left, right, (done) => (told = done), signal);
    expect([bytes, told]).to.deep.equal([SIZE, SIZE]);
  });

  for (const at of [0, 4 * 1024 ** 2, SIZE - 1]) {
    it(`names byte ${at} when it alone differs`, async () => {
      const bytes = Buffer.alloc(SIZE, 7);
      bytes[at] = 8;
      writeFileSync(right, bytes);
      expect(await difference()).to.contain(`differ first at byte ${at}`);
    });
  }

  it('tells zeros from data, and sizes apart', async () => {
    truncateSync(right, SIZE - 1);
    expect(await difference())
      .to.contain(`${SIZE} bytes`)
      .and.contain(`${SIZE - 1}`);
    truncateSync(right, SIZE);
    expect(await difference()).to.contain(`byte ${SIZE - 1}`);
  });
});
