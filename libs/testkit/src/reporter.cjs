/** Mocha's spec reporter, which also leaves its numbers and the reasons of what was skipped in OPENSERVICE_TEST_TALLY. */
const { writeFileSync } = require('node:fs');
const { reporters, Runner } = require('mocha');

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
    });
  }
}

module.exports = Tallying;
