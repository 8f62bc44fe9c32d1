import { expect } from 'chai';
import { asOpenServiceError, chunkCount, chunkLength, isId, isNodeId, newId, PermanentError } from '../src/index.ts';

describe('ids', () => {
  it('sort by the time they were made, and tell their kind', () => {
    const ids = [1, 1_000, 1_700_000_000_000, 2 ** 48 - 1].map((time) => newId('block', time));
    expect(ids.toSorted()).to.deep.equal(ids);
    expect(isId('block', newId('block'))).to.equal(true);
    expect(isId('pool', newId('block'))).to.equal(false);
    expect(isId('block', 'block-1')).to.equal(false);
  });

  it('are all different', () => {
    expect(new Set(Array.from({ length: 10_000 }, () => newId('job', 5))).size).to.equal(10_000);
  });

  it('of nodes may stand in subjects and paths', () => {
    for (const good of ['node-1', 'a', '9']) expect(isNodeId(good), good).to.equal(true);
    for (const bad of ['', '-a', 'A', 'a.b', 'a*', 'a>', 'a/b', 'x'.repeat(64)]) expect(isNodeId(bad), bad).to.equal(false);
  });
});

describe('chunks', () => {
  it('cover a block exactly', () => {
    for (const [size, chunk] of [
      [1, 4],
      [4, 4],
      [5, 4],
      [8, 4],
    ] as const) {
      const lengths = Array.from({ length: chunkCount(size, chunk) }, (_, index) => chunkLength(size, chunk, index));
      expect(lengths.reduce((sum, length) => sum + length, 0)).to.equal(size);
    }
    expect(chunkCount(0, 4)).to.equal(0);
  });
});

describe('errors', () => {
  it('of the system get a code and a sentence; ours stay as they are', () => {
    const full = asOpenServiceError(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', path: '/pool/disk' }));
    expect([full.code, full.outcome]).to.deep.equal(['no_space', 'permanent']);
    expect(full.message).to.equal('The disk is full at /pool/disk (ENOSPC).');
    expect(asOpenServiceError(Object.assign(new Error('x'), { code: 'ECONNRESET' })).outcome).to.equal('transient');
    const ours = new PermanentError('damaged_chunk', 'Chunk 3 is damaged.');
    expect(asOpenServiceError(ours)).to.equal(ours);
    expect(asOpenServiceError('odd').code).to.equal('internal');
  });
});
