/** Configuration comes from the environment alone, is checked once at start, and is frozen. */
import { PermanentError } from '@openservice/domain';
import { z } from 'zod';

/**
 * Reads `shape` (variable name → schema of its text) from `environment`. An empty variable counts as not set.
 * PermanentError `bad_config` names each wrong variable and what it must be.
 */
export function readConfig<Shape extends z.ZodRawShape>(
  shape: Shape,
  environment: Record<string, string | undefined>,
): Readonly<z.infer<z.ZodObject<Shape>>> {
  const given: Record<string, string> = {};
  for (const name of Object.keys(shape)) {
    const text = environment[name];
    if (text !== undefined && text !== '') given[name] = text;
  }
  const parsed = z.object(shape).safeParse(given);
  if (parsed.success) return Object.freeze(parsed.data);
  const faults = parsed.error.issues.map((issue) => {
    const name = issue.path.map(String).join('.');
    return given[name] === undefined ? `set ${name}` : `${name} is wrong: ${issue.message}`;
  });
  throw new PermanentError('bad_config', `The environment cannot be used; ${[...new Set(faults)].join('; ')}.`);
}

/** `redis://host:port`, `nats://host:port`, …: text whose scheme is one of `schemes`. */
export function urlText(...schemes: string[]): z.ZodType<string> {
  const form = schemes.map((scheme) => `${scheme}://host:port`).join(' or ');
  return z.string().refine((text) => URL.canParse(text) && schemes.includes(new URL(text).protocol.slice(0, -1)), {
    message: `it must be a URL like ${form}`,
  });
}

/** A TCP port, 0 … 65535, from its text. */
export const portText: z.ZodType<number> = z
  .string()
  .regex(/^\d{1,5}$/, 'it must be a port number')
  .transform(Number)
  .pipe(z.number().max(65535, 'it must be a port number, 65535 at most'));
