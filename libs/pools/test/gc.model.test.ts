/**
 * Collection beside writers on several nodes: thousands of random interleavings at every call to the store, with crashes, attempts that go on
 * after they were given up, and calls that arrive late. OPENSERVICE_GC_RUNS: how many; OPENSERVICE_GC_SEED: which.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { type Mutation, type Op, type Scenario, simulate } from './support/gc-simulation.ts';

const RUNS = Number(process.env.OPENSERVICE_GC_RUNS ?? 1500);
/** A mutation ends with the first run that fails. */
const MUTATION_RUNS = Math.max(RUNS, 3000);
const SEED = Number(process.env.OPENSERVICE_GC_SEED ?? 20261124);

/** Few different contents: blocks share chunks, and whole segments. */
const content: fc.Arbitrary<number[]> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom<number[]>([1, 2, 3], [1, 2, 3, 4, 0, 5]) },
  { weight: 2, arbitrary: fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 7 }) },
);
const write: fc.Arbitrary<Op> = fc.record({
  kind: fc.constant('write' as const),
  content,
  abort: fc.integer({ max: 4, min: 0 }).map((n) => n === 0),
});
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 4, arbitrary: write },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('clone' as const), from: fc.integer({ min: 0, max: 1 }) }) },
  { weight: 3, arbitrary: fc.constant<Op>({ kind: 'remove' }) },
  { weight: 1, arbitrary: fc.constantFrom<Op>({ kind: 'trash' }, { kind: 'untrash' }) },
);
const scenarios: fc.Arbitrary<Scenario> = fc.record({
  seed: fc.nat(),
  nodes: fc.integer({ min: 2, max: 3 }),
  pageSize: fc.constantFrom(2, 5, 1000),
  mostNames: fc.constantFrom(2, 1000),
  blocks: fc.array(fc.array(op, { minLength: 2, maxLength: 5 }), { minLength: 2, maxLength: 3 }),
  collectors: fc.array(fc.array(fc.constantFrom(0, 400, 3000), { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 2 }),
  crashes: fc.array(fc.integer({ min: 5, max: 400 }), { maxLength: 3 }),
  patience: fc.constantFrom(0, 0, 60, 150),
});

function runs(numRuns: number, mutation: Mutation = null): Promise<fc.RunDetails<[Scenario]>> {
  const property = fc.asyncProperty(scenarios, async (scenario) => {
    await simulate(scenario, mutation);
  });
  return Promise.resolve(fc.check(property, { numRuns, seed: SEED, endOnFailure: mutation !== null }));
}

describe(`a pool that is collected while it is written (model, seed ${SEED})`, function () {
  this.timeout(60_000 + RUNS * 60);

  it(`loses nothing and keeps no garbage in ${RUNS} runs`, async () => {
    const result = await runs(RUNS);
    if (result.failed) throw new Error(fc.defaultReportMessage(result) ?? 'failed', { cause: result.errorInstance });
  });

  for (const [mutation, what] of [
    ['withoutSecondMark', 'the second look is left out'],
    ['withoutWaiting', 'sessions are not waited for'],
    ['withoutAvoiding', 'sessions rely on what is condemned'],
  ] as const) {
    it(`is seen to fail when ${what}`, async () => {
      const result = await runs(MUTATION_RUNS, mutation);
      expect(result.failed, `none of ${MUTATION_RUNS} runs failed`).to.equal(true);
      expect((result.errorInstance as Error).message).to.match(/was removed, which .* needs|is not there/);
    });
  }
});
