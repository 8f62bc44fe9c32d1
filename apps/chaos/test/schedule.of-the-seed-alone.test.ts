import { expect } from 'chai';
import { planned } from '../src/client/plan.ts';
import { FAULTS } from '../src/faults/all.ts';
import { faultSchedule, kindOf } from '../src/faults/schedule.ts';

const LENGTH = 600_000;

describe('what a run does', () => {
  it('is the same faults at the same times for the same seed', () => {
    expect(faultSchedule(5, LENGTH)).deep.equal(faultSchedule(5, LENGTH));
    expect(faultSchedule(5, LENGTH)).not.deep.equal(faultSchedule(6, LENGTH));
  });

  it('is the same steps of each client for the same seed', () => {
    const steps = (seed: number, client: number) =>
      Array.from({ length: 200 }, (_, n) => {
        const { action, pauseMs, draw } = planned(seed, client, n);
        return [action.kind, pauseMs, draw.uint32()];
      });
    expect(steps(5, 1)).deep.equal(steps(5, 1));
    expect(steps(5, 1)).not.deep.equal(steps(5, 2));
    expect(steps(5, 1)).not.deep.equal(steps(6, 1));
  });

  it('hits each target with one fault at a time, four at once at most, and ends in time', () => {
    for (let seed = 0; seed < 20; seed++) {
      const faults = faultSchedule(seed, LENGTH);
      expect(faults.length).within(60, 220);
      for (const fault of faults) {
        expect(fault.at + fault.forMs).at.most(LENGTH);
        const others = faults.filter((one) => one.number < fault.number && one.at + one.forMs >= fault.at);
        expect(others.length).lessThan(4);
        expect(others.map(({ target }) => target)).not.include(fault.target);
        expect(kindOf(fault).targets).include(fault.target);
      }
    }
  });

  it('comes to every kind of fault and every target over a few seeds', () => {
    const drawn = new Set(
      Array.from({ length: 20 }, (_, seed) => faultSchedule(seed, LENGTH))
        .flat()
        .map(({ kind, target }) => `${kind} ${target}`),
    );
    const all = FAULTS.flatMap(({ kind, targets }) => targets.map((target) => `${kind} ${target}`));
    expect(all.filter((one) => !drawn.has(one))).deep.equal([]);
  });

  it('can be drawn of some kinds alone', () => {
    expect(new Set(faultSchedule(1, LENGTH, ['kill', 'flushall']).map(({ kind }) => kind))).deep.equal(
      new Set(['kill', 'flushall']),
    );
    expect(faultSchedule(1, LENGTH, ['none'])).deep.equal([]);
  });
});
