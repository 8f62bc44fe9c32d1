/** Fields that many bodies share, with their limits. */
import { z } from '@hono/zod-openapi';
import { isId, isNodeId, MAX_BLOCK_SIZE } from '@openservice/domain';

const isPlain = (text: string): boolean => !/\p{Cc}/u.test(text) && text.isWellFormed();

export const text = (max: number) =>
  z.string().max(max, `must be ${max} characters at most`).refine(isPlain, 'must not hold control characters');

/** Spaces at its ends are dropped. */
export const name = (max: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(max, `must be ${max} characters at most`)
    .refine(isPlain, 'must not hold control characters');

export const idOf = (kind: 'pool' | 'set' | 'block' | 'job' | 'ins') =>
  z
    .string()
    .max(64, `must be an id of the form ${kind}-…`)
    .refine((value) => isId(kind, value), `must be an id of the form ${kind}-…`);

export const nodeId = z
  .string()
  .max(64, 'must be a node id')
  .refine(isNodeId, 'must be a node id: lower case letters, digits and "-"');

export const port = z.int('must be an integer').min(1, 'must be 1 to 65535').max(65_535, 'must be 1 to 65535');

/** Bytes of a disk. */
export const diskSize = z.int('must be an integer').min(1, 'must be 1 at least').max(MAX_BLOCK_SIZE, 'must be 64 TiB at most');

export const absolutePath = z
  .string()
  .min(1, 'must not be empty')
  .refine((path) => Buffer.byteLength(path) <= 1024, 'must be 1024 bytes at most')
  .refine((path) => path.startsWith('/'), 'must be an absolute path')
  .refine((path) => !path.includes('\0') && isPlain(path), 'must not hold control characters');

/** Bytes a second. */
export const bandwidth = z
  .number()
  .positive('must be more than 0')
  .optional()
  .openapi({ description: 'Bytes a second at most; left out: no limit.' });

/** Of a job. */
export const priority = z
  .int('must be an integer')
  .min(1, 'must be 1 to 9')
  .max(9, 'must be 1 to 9')
  .optional()
  .openapi({ description: 'Of jobs that wait, 1 goes first and 9 last. Default: 5.' });

/** The same in a query. */
export const priorityText = z
  .string()
  .regex(/^[1-9]$/, 'must be 1 to 9')
  .transform(Number)
  .optional()
  .openapi({ type: 'integer', minimum: 1, maximum: 9, description: 'Of jobs that wait, 1 goes first and 9 last. Default: 5.' });

/** Jobs at a time and bytes a second; null takes the limit away, what is left out stays. */
export const limits = z
  .strictObject({
    max_jobs: z
      .int('must be an integer')
      .min(1, 'must be 1 at least; to give a node no jobs at all, drain it')
      .max(1_000_000, 'must be 1000000 at most')
      .nullable()
      .optional()
      .openapi({ description: 'Jobs that may be dispatched and not ended at a time; null: no limit.' }),
    bandwidth: z
      .number('must be a number')
      .min(1, 'must be 1 at least')
      .max(1e15, 'must be 1e15 at most')
      .nullable()
      .optional()
      .openapi({ description: 'Bytes a second that all jobs of a node together may move; null: no limit.' }),
  })
  .refine((body) => body.max_jobs !== undefined || body.bandwidth !== undefined, {
    path: ['max_jobs'],
    message: 'give max_jobs, bandwidth, or both',
  })
  .openapi('Limits');
export type Limits = z.output<typeof limits>;

/** A URI of one of `protocols` (each with its colon). Stored and shown as it is, so it must hold no credentials. */
export const sourceUri = (protocols: readonly string[]) =>
  z
    .string()
    .min(1, 'must not be empty')
    .max(2048, 'must be 2048 characters at most')
    .refine(isPlain, 'must not hold control characters')
    .refine((uri) => protocols.includes(URL.parse(uri)?.protocol ?? ''), `must be a URI of ${protocols.join(', ')}`)
    .refine(
      (uri) => holdsNoCredentials(uri),
      'must not hold a user or a password (user:password@): it is stored and shown as it is; give access by the network, or by a signed URL',
    );

/** What is no URI is refused as such. */
function holdsNoCredentials(uri: string): boolean {
  const url = URL.parse(uri);
  return url === null || (url.username === '' && url.password === '');
}

export const flag = z.enum(['true', 'false']).transform((value) => value === 'true');

export const time = z.string().openapi({ format: 'date-time' });
export const bytes = z.int().min(0);
