import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { PermanentError } from '@openservice/domain';

export interface StartArguments {
  /** Absolute. */
  dir: string;
  /** The center's port; the next free one is taken where it is not free. */
  port: number;
  nodes: number;
}

const USAGE = 'Usage: npm start -- [--dir DIR] [--port 1..65535] [--nodes 1..16]';

function whole(name: string, text: string, least: number, most: number): number {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw new PermanentError(
      'invalid_argument',
      `--${name} must be a whole number from ${least} to ${most}, not "${text}". ${USAGE}`,
    );
  }
  return value;
}

/** The arguments of `npm start`. Throws PermanentError `invalid_argument` with the usage. */
export function startArguments(args: string[]): StartArguments {
  let values: { dir?: string; port?: string; nodes?: string };
  try {
    ({ values } = parseArgs({
      args: args.filter((arg) => arg !== '--'),
      options: { dir: { type: 'string' }, port: { type: 'string' }, nodes: { type: 'string' } },
    }));
  } catch (error) {
    throw new PermanentError('invalid_argument', `${(error as Error).message} ${USAGE}`, { cause: error });
  }
  if (values.dir === '') throw new PermanentError('invalid_argument', `--dir must name a directory. ${USAGE}`);
  return {
    dir: resolve(values.dir ?? '.openservice'),
    port: whole('port', values.port ?? '8080', 1, 65_535),
    nodes: whole('nodes', values.nodes ?? '2', 1, 16),
  };
}
