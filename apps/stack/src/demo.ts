/** `npm run demo -- [--keep] [--dir DIR] [--size SIZE]`: its own stack, the main job on it, and everything stopped again. */
import { join } from 'node:path';
import { freshDirectory } from './demo/fresh-directory.ts';
import { demoArguments } from './demo/options.ts';
import { runDemo } from './demo/run-demo.ts';
import { startStack } from './supervisor/stack.ts';

const say = (line: string) => void process.stdout.write(`${line}\n`);

async function main(signal: AbortSignal): Promise<void> {
  const { dir, size, keep } = demoArguments(process.argv.slice(2));
  const since = performance.now();
  freshDirectory(dir);
  say(`The demo runs in ${dir}. Starting MySQL, Redis, NATS, S3, the center and two nodes …`);
  try {
    const stack = await startStack({ dir, signal });
    try {
      say(`ready after ${seconds(since)}; API ${stack.stack.center.url}/openstore_v1`);
      await runDemo({ stack, dir, size, say, signal });
      say(`demo passed in ${seconds(since)}`);
      if (keep) await stay(stack.stack.center.url, dir, signal);
    } finally {
      if (!keep) say('stopping …');
      await stack.stop();
    }
  } catch (error) {
    const sentence = error instanceof Error ? error.message : String(error);
    throw new Error(`demo failed: ${sentence} The logs are in ${join(dir, 'logs')}.`, { cause: error });
  }
}

async function stay(url: string, dir: string, signal: AbortSignal): Promise<void> {
  say(`\nIt is left running: API ${url}/openstore_v1, API page ${url}/docs, queues ${url}/board`);
  say(`Token, keys and pids: ${join(dir, 'stack.json')}. Ctrl-C stops it.`);
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  say('\nstopping …');
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

const abort = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => abort.abort(new Error('It was interrupted.')));
try {
  await main(abort.signal);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
