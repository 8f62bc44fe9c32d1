/** `npm run bench -- [--only GROUP] [--json FILE] [--dir DIR] [--repeat N]`: the product beside its peers; exit 1 when a goal is missed. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { PermanentError } from '@openservice/domain';
import { GROUPS } from './groups/all.ts';
import { Lab } from './lab.ts';
import { machine, report } from './report.ts';
import { failedRow, type Row } from './row.ts';

const USAGE = `Usage: npm run bench -- [--only ${Object.keys(GROUPS).join('|')}]... [--json FILE] [--dir DIR] [--repeat 1..20]`;

interface Arguments {
  only: string[];
  json: string | undefined;
  dir: string;
  repeat: number;
}

function benchArguments(args: string[]): Arguments {
  let values: { only?: string[]; json?: string; dir?: string; repeat?: string };
  try {
    ({ values } = parseArgs({
      args: args.filter((arg) => arg !== '--'),
      options: {
        only: { type: 'string', multiple: true },
        json: { type: 'string' },
        dir: { type: 'string' },
        repeat: { type: 'string' },
      },
    }));
  } catch (error) {
    throw new PermanentError('invalid_argument', `${(error as Error).message} ${USAGE}`, { cause: error });
  }
  const only = values.only ?? Object.keys(GROUPS);
  const unknown = only.find((name) => !Object.hasOwn(GROUPS, name));
  if (unknown !== undefined) throw new PermanentError('invalid_argument', `There is no "${unknown}" in the bench. ${USAGE}`);
  const repeat = Number(values.repeat ?? '3');
  if (!Number.isInteger(repeat) || repeat < 1 || repeat > 20) {
    throw new PermanentError(
      'invalid_argument',
      `--repeat must be a whole number from 1 to 20, not "${values.repeat}". ${USAGE}`,
    );
  }
  return { only, json: values.json, dir: resolve(values.dir ?? '.openservice/bench'), repeat };
}

async function main(signal: AbortSignal): Promise<boolean> {
  const { only, json, dir, repeat } = benchArguments(process.argv.slice(2));
  const say = (line: string) => void process.stdout.write(`${line}\n`);
  say(`The bench runs in ${dir}; starting the stack …`);
  const lab = await Lab.start(dir, say, signal);
  const rows: Row[] = [];
  try {
    for (const name of only) {
      say(`${name}:`);
      rows.push(...(await measure(name, lab, repeat)));
    }
  } finally {
    await lab.stop();
  }
  say(`\n${report(rows)}`);
  if (json !== undefined) await writeFile(json, `${JSON.stringify({ machine: machine(), rows }, null, 2)}\n`);
  return rows.every((row) => row.ok);
}

/** What cannot be measured is a row that is not ok: the other groups still are. */
async function measure(name: string, lab: Lab, repeat: number): Promise<Row[]> {
  try {
    return await GROUPS[name]!(lab, repeat);
  } catch (error) {
    lab.signal.throwIfAborted();
    const why = error instanceof Error ? error.message : String(error);
    lab.say(`  ${name} failed: ${why}`);
    return [failedRow(name, why)];
  }
}

const abort = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => abort.abort(new Error('The bench was interrupted.')));
}
try {
  if (!(await main(abort.signal))) {
    process.stderr.write('A goal was missed; see the rows that say NO.\n');
    process.exitCode = 1;
  }
} catch (error) {
  process.stderr.write(`bench failed: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
