/**
 * `npm test [-- specs and mocha's options]`: starts the real servers once in a temporary directory, runs mocha in a
 * process of its own, and ends with the line `N passed, N failed`. Servers named by OPENSERVICE_TEST_* are used as they are.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ServerName, type Servers, startServers } from '@openservice/servers';
import { guardExit } from './exit-guard.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const VARIABLES: Record<ServerName, string> = {
  mysql: 'OPENSERVICE_TEST_MYSQL_URL',
  redis: 'OPENSERVICE_TEST_REDIS_URL',
  nats: 'OPENSERVICE_TEST_NATS_URL',
  s3: 'OPENSERVICE_TEST_S3_ENDPOINT',
};
/** ms that mocha may take to exit after the end of its tests; after half of it the reporter tells what is alive. */
const EXIT_MS = Number(process.env.OPENSERVICE_TEST_EXIT_MS ?? 60_000);

export interface Tally {
  passed: number;
  failed: number;
  skipped: { title: string; reason: string }[];
}

const abort = new AbortController();
let servers: Servers | undefined;
let hung = false;
const dir = mkdtempSync(join(tmpdir(), 'openservice-test-'));

function environmentOf(started: Servers): NodeJS.ProcessEnv {
  const s3 = started.s3?.address;
  return {
    ...(started.mysql && { OPENSERVICE_TEST_MYSQL_URL: started.mysql.address.url }),
    ...(started.redis && { OPENSERVICE_TEST_REDIS_URL: started.redis.address.url }),
    ...(started.nats && { OPENSERVICE_TEST_NATS_URL: started.nats.address.url }),
    ...(s3 && {
      OPENSERVICE_TEST_S3_ENDPOINT: s3.endpoint,
      OPENSERVICE_TEST_S3_REGION: s3.region,
      OPENSERVICE_TEST_S3_ACCESS_KEY: s3.access_key,
      OPENSERVICE_TEST_S3_SECRET_KEY: s3.secret_key,
      OPENSERVICE_TEST_S3_BUCKET: s3.bucket,
    }),
  };
}

/** Mocha's exit code. The caller's spec paths stand in the place of all of them. */
function runMocha(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const mocha = createRequire(import.meta.url).resolve('mocha/bin/mocha.js');
  const reporter = fileURLToPath(new URL('./reporter.cjs', import.meta.url));
  const asked = args.filter((arg) => /\.test\.ts$/.test(arg));
  const rest = args.filter((arg) => !asked.includes(arg));
  const specs = asked.length === 0 ? ['{libs,apps}/*/test/**/*.test.ts'] : asked;
  return new Promise((done, refuse) => {
    const child = spawn(process.execPath, [mocha, '--reporter', reporter, ...rest, ...specs], {
      cwd: ROOT,
      stdio: 'inherit',
      env: { ...process.env, ...env, OPENSERVICE_TEST_TALLY: join(dir, 'tally.json') },
    });
    guardExit(child, join(dir, 'tally.json'), EXIT_MS, () => {
      hung = true;
    });
    abort.signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
    child.once('error', refuse);
    child.once('exit', (code) => done(code ?? 1));
  });
}

async function main(): Promise<number> {
  const which = (Object.keys(VARIABLES) as ServerName[]).filter((name) => (process.env[VARIABLES[name]] ?? '') === '');
  const since = Date.now();
  const log = (line: string) => process.stdout.write(`${line}\n`);
  servers = await startServers({ dir: resolve(dir, 'servers'), which, s3Mode: 'memory', log, signal: abort.signal });
  if (which.length > 0)
    log(`Servers for the tests (${which.join(', ')}) are up after ${((Date.now() - since) / 1000).toFixed(1)} s.`);
  const code = await runMocha(
    process.argv.slice(2).filter((arg) => arg !== '--'),
    environmentOf(servers),
  );
  return code;
}

function summary(code: number): string {
  let tally: Tally;
  try {
    tally = JSON.parse(readFileSync(join(dir, 'tally.json'), 'utf8')) as Tally;
  } catch {
    return abort.signal.aborted ? 'The tests were stopped.' : 'The tests did not run to their end.\n0 passed, 1 failed';
  }
  const lines = tally.skipped.map(({ title, reason }) => `  skipped: ${title}: ${reason}`);
  // Mocha can fail as a whole (a hook, an unhandled rejection) without a failed test.
  const failed = tally.failed === 0 && code !== 0 ? 1 : tally.failed;
  if (hung) {
    lines.push(
      `Mocha did not exit within ${EXIT_MS / 1000} s of its last test, and was killed. What a test left open is told above; when nothing is, JavaScript had ended, and a handle that Node cannot close kept the process.`,
    );
  }
  const skipped = tally.skipped.length === 0 ? '' : `, ${tally.skipped.length} skipped`;
  return [...lines, `${tally.passed} passed, ${failed} failed${skipped}`].join('\n');
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => abort.abort());
let code = 1;
let trouble = '';
try {
  code = await main();
} catch (error) {
  trouble = error instanceof Error ? error.message : String(error);
}
const last = trouble === '' ? summary(code) : `${trouble}\n0 passed, 1 failed`;
await servers?.stop();
rmSync(dir, { recursive: true, force: true });
process.stdout.write(`${last}\n`);
process.exitCode = abort.signal.aborted ? 130 : code;
