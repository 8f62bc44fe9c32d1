import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { PermanentError } from '@openservice/domain';
import { formatBytes, parseBytes } from './units.ts';

export interface DemoArguments {
  /** Absolute; wiped at the start. */
  dir: string;
  /** Bytes of the disk. */
  size: number;
  /** Leave the stack running at the end, until Ctrl-C. */
  keep: boolean;
}

const GIB = 1024 ** 3;
const LEAST = GIB;
const MOST = 1024 * GIB;
const USAGE = 'Usage: npm run demo -- [--keep] [--dir DIR] [--size 2GiB]';

/** The arguments of `npm run demo`. Throws PermanentError `invalid_argument` with the usage. */
export function demoArguments(args: string[]): DemoArguments {
  let values: { dir?: string; size?: string; keep?: boolean };
  try {
    ({ values } = parseArgs({
      args: args.filter((arg) => arg !== '--'),
      options: { dir: { type: 'string' }, size: { type: 'string' }, keep: { type: 'boolean' } },
    }));
  } catch (error) {
    throw new PermanentError('invalid_argument', `${(error as Error).message} ${USAGE}`, { cause: error });
  }
  if (values.dir === '') throw new PermanentError('invalid_argument', `--dir must name a directory. ${USAGE}`);
  const size = parseBytes(values.size ?? '2GiB');
  if (size === null || size < LEAST || size > MOST) {
    throw new PermanentError(
      'invalid_argument',
      `--size must be between ${formatBytes(LEAST)} and ${formatBytes(MOST)}, not "${values.size}". ${USAGE}`,
    );
  }
  // ext4 wants whole blocks, a disk whole sectors.
  return { dir: resolve(values.dir ?? '.openservice/demo'), size: size - (size % 4096), keep: values.keep ?? false };
}
