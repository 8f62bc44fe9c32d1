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
