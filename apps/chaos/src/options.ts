import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { PermanentError } from '@openservice/domain';
import { FAULTS } from './faults/all.ts';

export interface ChaosOptions {
  /** Of faults and load; starting, healing and checking come on top. */
  minutes: number;
  seed: number;
  clients: number;
  /** Absolute. Made for the run, and removed when nothing broke. */
  dir: string;
  /** Leaves the directory in any case. */
  keep: boolean;
  /** Only these kinds of faults; empty: all; `none`. */
  only: string[];
}

const USAGE = 'Usage: npm run chaos -- [--minutes 0.1..600] [--seed N] [--clients 1..16] [--dir DIR] [--keep] [--fault KIND]…';

/** PermanentError `invalid_argument` with the usage. */
export function chaosOptions(args: string[]): ChaosOptions {
  const strings = {
    minutes: { type: 'string' },
    seed: { type: 'string' },
    clients: { type: 'string' },
    dir: { type: 'string' },
  } as const;
  const flags = { keep: { type: 'boolean', default: false }, fault: { type: 'string', multiple: true } } as const;
  try {
    const { values } = parseArgs({ args: args.filter((arg) => arg !== '--'), options: { ...strings, ...flags } });
    const only = values.fault ?? [];
    const kinds = ['none', ...new Set(FAULTS.map(({ kind }) => kind))];
    const unknown = only.find((kind) => !kinds.includes(kind));
    if (unknown !== undefined) {
      throw new PermanentError('invalid_argument', `--fault must be one of ${kinds.join(', ')}, not "${unknown}". ${USAGE}`);
    }
    const seed = number('seed', values.seed ?? String(Date.now() % 1_000_000), 0, 2 ** 31, true);
    return {
      minutes: number('minutes', values.minutes ?? '2', 0.1, 600, false),
      seed,
      clients: number('clients', values.clients ?? '4', 1, 16, true),
      dir: resolve(values.dir ?? join(tmpdir(), `openservice-chaos-${seed}-${process.pid}`)),
      keep: values.keep,
      only,
    };
  } catch (error) {
    if (error instanceof PermanentError) throw error;
    throw new PermanentError('invalid_argument', `${(error as Error).message} ${USAGE}`, { cause: error });
  }
}

function number(name: string, text: string, least: number, most: number, whole: boolean): number {
  const value = /^\d{1,10}(\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most && (!whole || Number.isInteger(value))) return value;
  const sort = whole ? 'a whole number' : 'a number';
  throw new PermanentError('invalid_argument', `--${name} must be ${sort} from ${least} to ${most}, not "${text}". ${USAGE}`);
}
