/** Mocha's spec reporter, which also leaves its numbers and the reasons of what was skipped in OPENSERVICE_TEST_TALLY. */
const { writeFileSync } = require('node:fs');
const { reporters, Runner } = require('mocha');
const { alive } = require('./alive.cjs');

/** After the end of the tests: by then nothing may be left that keeps the process. */
const EXIT_MS = Number(process.env.OPENSERVICE_TEST_EXIT_MS ?? 60_000);

class Tallying extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const skipped = [];
    runner.on(Runner.constants.EVENT_TEST_PENDING, (test) => {
      // A reason is what the title says after "skipped:" or in its last brackets.
      const title = test.fullTitle();
      const reason = /(?:skipped: (.+)|\(([^()]*)\))\s*$/.exec(title);
      skipped.push({
        title,
        reason: reason?.[1] ?? reason?.[2] ?? process.env.OPENSERVICE_TEST_SKIP_REASON ?? 'no reason given',
      });
    });
    runner.once(Runner.constants.EVENT_RUN_END, () => {
      const file = process.env.OPENSERVICE_TEST_TALLY;
      const { passes: passed, failures: failed } = runner.stats;
      if (file) writeFileSync(file, JSON.stringify({ passed, failed, skipped }));
      // Does not hold the process itself; fires before run-tests.ts ends it.
      setTimeout(() => {
        const lines = alive().map((line) => `  ${line}\n`);
        process.stderr.write(`The tests have ended, and the process does not: these keep it.\n${lines.join('')}`);
      }, EXIT_MS / 2).unref();
    });
  }
}

module.exports = Tallying;
