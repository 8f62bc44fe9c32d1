/**
 * The door of every npm script: `node scripts/run.mjs <start|demo|test|bench|chaos|check> [args]`. Runs on Node 20 with
 * nothing installed: brings node_modules from the lock file when they are missing or old, then hands over to Node 24.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const MODULES = join(ROOT, 'node_modules');
const STAMP = join(MODULES, '.openservice-lock');
const LOCK = join(ROOT, '.openservice-install.lock');
const ENTRIES = {
  start: ['apps/stack/src/start.ts'],
  demo: ['apps/stack/src/demo.ts'],
  test: ['libs/testkit/src/run-tests.ts'],
  bench: ['bench/src/main.ts'],
  chaos: ['apps/chaos/src/main.ts'],
};

const lockHash = () =>
  createHash('sha256')
    .update(readFileSync(join(ROOT, 'package-lock.json')))
    .digest('hex');
const installed = () => existsSync(STAMP) && readFileSync(STAMP, 'utf8') === lockHash() && node24() !== undefined;

function node24() {
  return [join(MODULES, 'node', 'bin', 'node'), join(MODULES, '.bin', 'node')].find((path) => existsSync(path));
}

function fail(sentence) {
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}

/** npm's own tree, written by whoever ran `npm ci` or `npm install` by hand: as good as ours when it is newer than the lock file. */
function installedByHand() {
  try {
    const tree = statSync(join(MODULES, '.package-lock.json'));
    return tree.mtimeMs >= statSync(join(ROOT, 'package-lock.json')).mtimeMs - 1000 && node24() !== undefined;
  } catch {
    return false;
  }
}

const pause = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** Waits for another install of this checkout; a lock whose holder is dead is taken over. */
function takeLock() {
  for (let waited = 0; waited < 900_000; waited += 200) {
    try {
      writeFileSync(LOCK, String(process.pid), { flag: 'wx' });
      process.once('exit', () => rmSync(LOCK, { force: true }));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') fail(`The lock file ${LOCK} cannot be written: ${error.message}.`);
    }
    try {
      const holder = Number(readFileSync(LOCK, 'utf8'));
      // In a container that was started again the dead holder's pid may be our own.
      if (holder === process.pid) rmSync(LOCK, { force: true });
      else if (holder > 0) process.kill(holder, 0);
    } catch (error) {
      if (error.code === 'ESRCH') rmSync(LOCK, { force: true });
    }
    pause(200);
  }
  fail(`Another install holds ${LOCK} for 15 minutes; remove that file if none is running.`);
}

function install() {
  if (installed()) return;
  if (installedByHand()) {
    writeFileSync(STAMP, lockHash());
    return;
  }
  takeLock();
  if (installed()) {
    rmSync(LOCK, { force: true });
    return;
  }
  const since = Date.now();
  process.stdout.write('Installing the npm dependencies …\n');
  const npm = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
    // Under `npm test --silent` and the like the caller's npm settings stand in the environment; the project's own shall hold.
    env: { ...process.env, NODE_ENV: 'development' },
  });
  if (npm.status !== 0) {
    process.stderr.write(`${npm.stdout ?? ''}${npm.stderr ?? ''}\n`);
    fail(
      `npm ci failed (${npm.error?.message ?? `exit ${npm.status}`}); its output stands above. Is the npm registry reachable?`,
    );
  }
  if (node24() === undefined)
    fail("npm ci did not bring Node 24 (the package 'node'); check that package.json's allowScripts names it.");
  mkdirSync(MODULES, { recursive: true });
  writeFileSync(STAMP, lockHash());
  rmSync(LOCK, { force: true });
  process.stdout.write(`Installed the npm dependencies in ${((Date.now() - since) / 1000).toFixed(0)} s.\n`);
}

/** Runs one command in the foreground; signals go through to it. Resolves with its exit code. */
function handOver(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      stdio: 'inherit',
      env: { ...process.env, UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? '8', NX_DAEMON: 'false' },
    });
    const signals = ['SIGTERM', 'SIGHUP'];
    const pass = (signal) => child.kill(signal);
    for (const signal of signals) process.on(signal, pass);
    // Ctrl-C reaches the child from the terminal itself; a SIGINT sent to this process alone is passed on, and a second one does no harm.
    const passInt = () => child.kill('SIGINT');
    process.on('SIGINT', passInt);
    child.once('error', (error) => fail(`${command} could not be started: ${error.message}.`));
    child.once('exit', (code, signal) => {
      for (const one of signals) process.off(one, pass);
      process.off('SIGINT', passInt);
      resolve(code ?? (signal === 'SIGINT' ? 130 : 143));
    });
  });
}

const [task, ...args] = process.argv.slice(2);
if (task !== 'check' && !(task in ENTRIES)) fail('Usage: node scripts/run.mjs <start|demo|test|bench|chaos|check> [arguments]');
install();
const node = node24();
const bin = (name) => join(MODULES, '.bin', name);

async function check() {
  const steps = [
    ['Types', bin('tsc'), ['-p', '.']],
    ['Format, lint and import directions', bin('biome'), ['ci', '--error-on-warnings', '.']],
    ...(args.includes('--no-tests') ? [] : [['Tests', node, [...ENTRIES.test]]]),
  ];
  for (const [name, command, words] of steps) {
    process.stdout.write(`\n== ${name}\n`);
    const code = await handOver(command, words);
    if (code !== 0) {
      process.stderr.write(`check: ${name} failed.\n`);
      return code;
    }
  }
  return 0;
}

process.exitCode = task === 'check' ? await check() : await handOver(node, [...ENTRIES[task], ...args]);
