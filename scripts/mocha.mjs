/** The test script of every package: `npm test` in a package's folder runs that package's tests as the root's would. */
import { spawnSync } from 'node:child_process';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const here = relative(root, process.cwd());
const run = spawnSync(
  process.execPath,
  [join(root, 'scripts', 'run.mjs'), 'test', `${here}/test/**/*.test.ts`, ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: 'inherit',
  },
);
process.exitCode = run.status ?? 1;
