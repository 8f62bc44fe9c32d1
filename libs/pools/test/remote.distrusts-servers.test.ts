/** What a pool server says of a block is believed only as far as a block can be so. */
import { OpenServiceError } from '@openservice/domain';
import { expect } from 'chai';
import { openedFrom, statFrom } from '../src/remote/answers.ts';
import type { RemoteClient } from '../src/remote/client.ts';
import { RemoteReader } from '../src/remote/reader.ts';
import { inlineWorkers } from './support/inline-workers.ts';

const signal = new AbortController().signal;
const ROOT = '0'.repeat(64);

async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    return error instanceof OpenServiceError ? error.code : String(error);
  }
  return 'nothing was refused';
}

describe('the driver of remote pools distrusts a server that', () => {
  /** A reader of ten chunks whose server answers `pages` to questions for extents. */
  const extentsOf = async (...pages: unknown[]): Promise<number> => {
    const client = { json: async () => pages.shift() } as unknown as RemoteClient;
    const block = { id: 'block-1', path: '/x', size: 10 * 4096, chunkSize: 4096, rootDigest: Buffer.alloc(32), digests: true };
    let chunks = 0;
    for await (const { count } of new RemoteReader(client, inlineWorkers(), block).extents(0, signal)) chunks += count;
    return chunks;
  };

  for (const [what, ...pages] of [
    ['past the end of the block', { ranges: [[0, Number.MAX_SAFE_INTEGER]], next: null }],
    [
      'that go back',
      {
        ranges: [
          [4, 2],
          [4, 2],
        ],
        next: null,
      },
    ],
    ['that go back on the next page', { ranges: [[4, 2]], next: 6 }, { ranges: [[0, 2]], next: null }],
    ['of no numbers', { ranges: [[1]], next: null }],
    ['in circles', { ranges: [], next: 0 }],
  ] as [string, ...unknown[]][]) {
    it(`tells of extents ${what}`, async () => {
      expect(await codeOf(() => extentsOf(...pages))).to.equal('not_a_pool_server');
    });
  }

  it('but not one that tells of them in order', async () => {
    expect(
      await extentsOf(
        {
          ranges: [
            [0, 2],
            [2, 1],
          ],
          next: 6,
        },
        { ranges: [[6, 4]], next: null },
      ),
    ).to.equal(7);
  });

  it('tells of a block that cannot be', async () => {
    for (const [size, chunk_size] of [
      [Number.MAX_SAFE_INTEGER, 1 << 20],
      [1 << 30, 0],
      [2 ** 46, 1],
      [1, 2 ** 40],
    ]) {
      const told = { block_id: 'block-1', size, chunk_size, root_digest: ROOT, stored_bytes: 0, digests: true };
      expect(await codeOf(() => openedFrom(told)), `${size} ${chunk_size}`).to.equal('not_a_pool_server');
      expect(await codeOf(() => statFrom(told)), `${size} ${chunk_size}`).to.equal('not_a_pool_server');
    }
  });
});
