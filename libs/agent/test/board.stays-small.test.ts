import { expect } from 'chai';
import { boardOf } from '../src/board.ts';
import { deferred } from './support/toy.ts';

describe('the board of a queue', () => {
  it('keeps one percentage, the newest, while Redis is away', async () => {
    const away = deferred();
    const last = deferred();
    const written: number[] = [];
    let lines = 0;
    const board = boardOf({
      updateProgress: async (percent) => {
        written.push(percent);
        if (percent === 99) last.resolve();
        await away.promise;
      },
      log: async () => {
        lines++;
        await away.promise;
      },
    });
    for (let percent = 0; percent < 100; percent++) board.percent(percent);
    for (let line = 0; line < 1000; line++) board.line('text');
    expect(written).to.deep.equal([0]);
    expect(lines).to.equal(100);
    away.resolve();
    await last.promise;
    expect(written).to.deep.equal([0, 99]);
  });
});
