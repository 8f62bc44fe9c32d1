import { expect } from 'chai';
import { Random } from '../src/random.ts';

describe('numbers from a seed', () => {
  const draw = (...words: (string | number)[]) => {
    const random = new Random(...words);
    return Array.from({ length: 50 }, () => random.uint32());
  };

  it('are the same for the same words, and others for others', () => {
    expect(draw('a', 1)).deep.equal(draw('a', 1));
    expect(draw('a', 1)).not.deep.equal(draw('a', 2));
    expect(draw('a', 11)).not.deep.equal(draw('a1', 1));
  });

  it('do not change with versions of this program: a seed is to replay a run', () => {
    expect(draw('replay', 7).slice(0, 3)).deep.equal(REMEMBERED);
  });

  it('lie where they were asked to', () => {
    const random = new Random('range');
    const ints = Array.from({ length: 2000 }, () => random.int(3, 5));
    expect(new Set(ints)).deep.equal(new Set([3, 4, 5]));
    const words = Array.from(
      { length: 3000 },
      () =>
        random.weighted([
          { weight: 3, is: 'often' },
          { weight: 1, is: 'seldom' },
        ]).is,
    );
    expect(words.filter((word) => word === 'seldom').length).within(600, 900);
    expect(random.maybe([])).equal(undefined);
    expect(random.bytes(7)).length(7);
  });
});

const REMEMBERED = [1139438868, 622147224, 1298623541];
