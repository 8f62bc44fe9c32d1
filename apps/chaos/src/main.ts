/** `npm run chaos -- --minutes N --seed S`: the whole stack under load and faults, and then whether all its promises hold. */
import { chaosOptions } from './options.ts';
import { run } from './run.ts';
import { againInside } from './stack/own-mounts.ts';

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const options = chaosOptions(args);
  const inside = await againInside(args);
  if (inside !== null) return inside;
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => abort.abort(new Error(`Ended by ${signal}.`)));
  return run(options, abort.signal);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
