import { expect } from 'chai';
import { chaosOptions } from '../src/options.ts';

describe('the arguments of a run', () => {
  it('are taken as given, with defaults', () => {
    const options = chaosOptions(['--', '--minutes', '0.5', '--seed', '42', '--fault', 'kill', '--fault', 'freeze']);
    expect(options).include({ minutes: 0.5, seed: 42, clients: 4, keep: false });
    expect(options.only).deep.equal(['kill', 'freeze']);
    expect(chaosOptions([]).minutes).equal(2);
  });

  for (const args of [
    ['--minutes', '0'],
    ['--seed', '1.5'],
    ['--seed', '-1'],
    ['--clients', '99'],
    ['--fault', 'flood'],
    ['--wrong'],
  ]) {
    it(`are refused: ${args.join(' ')}`, () => {
      expect(() => chaosOptions(args)).throw(/Usage: npm run chaos/);
    });
  }
});
