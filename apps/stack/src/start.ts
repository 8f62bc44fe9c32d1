/** `npm start -- --dir DIR --port P --nodes N`: the stack in the foreground, until Ctrl-C or SIGTERM. */
import { join } from 'node:path';
import Table from 'cli-table3';
import { startArguments } from './supervisor/options.ts';
import { type Stack, startStack } from './supervisor/stack.ts';

const say = (line: string) => process.stdout.write(`${line}\n`);

function show({ stack }: Stack, dir: string): void {
  const table = new Table({ style: { head: [], border: [] } });
  const { url } = stack.center;
  table.push(
    ['API', `${url}/openstore_v1`],
    ['API page', `${url}/docs`],
    ['Queues', `${url}/board`],
    ['S3', `${stack.s3.endpoint}  bucket ${stack.s3.bucket}`],
    ['NATS', stack.nats.url],
    // The password stands in stack.json, which only its owner can read; a terminal is looked at by more people.
    ['MySQL', stack.mysql.url.replace(/:[^:@/]*@/, ':…@')],
    ['Redis', stack.redis.url],
    ...stack.nodes.map((node) => [node.id, `imports from ${node.import_root}`]),
    ['Token, keys, pids', join(dir, 'stack.json')],
    ['Logs', join(dir, 'logs')],
  );
  say(table.toString());
}

async function main(): Promise<void> {
  const options = startArguments(process.argv.slice(2));
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => abort.abort());
  const since = Date.now();
  say(`Starting OpenService in ${options.dir} …`);
  const stack = await startStack({ ...options, signal: abort.signal });
  stack.events.on('died', (name, delayMs) => say(`${name} died; it is started again in ${delayMs} ms.`));
  stack.events.on('restarted', (name, pid) => say(`${name} runs again (pid ${pid}).`));
  show(stack, options.dir);
  say(`Ready after ${((Date.now() - since) / 1000).toFixed(1)} s. Ctrl-C stops it.`);
  if (!abort.signal.aborted) await new Promise((resolve) => abort.signal.addEventListener('abort', resolve, { once: true }));
  say('Stopping …');
  await stack.stop();
  say('Stopped; all that was kept is in its directory.');
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
