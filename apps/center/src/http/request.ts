/** What every request passes first: its id, its trace, limits on its body, and how long it may take. */
import { randomBytes } from 'node:crypto';
import { MIB, newId } from '@openservice/domain';
import type { Context, MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { Refusal } from '../services/refusal.ts';
import type { AppEnv } from './deps.ts';
import { databaseUnavailable } from './problem.ts';

const READ_LIMIT_MS = 15_000;
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;

export const identify: MiddlewareHandler<AppEnv> = async (c, next) => {
  const given = c.req.header('X-Request-Id');
  const id = given !== undefined && REQUEST_ID.test(given) ? given : newId('req');
  const trace = c.req.header('traceparent');
  c.set('requestId', id);
  c.set(
    'traceparent',
    trace !== undefined && TRACEPARENT.test(trace)
      ? trace
      : `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`,
  );
  await next();
  c.res.headers.set('X-Request-Id', id);
};

export const noStore: MiddlewareHandler<AppEnv> = async (c, next) => {
  await next();
  c.res.headers.set('Cache-Control', 'no-store');
};

/** Everything else carries JSON, or nothing. */
const CONTENT_PATH = /^\/openstore_v1\/blocks\/[^/]+\/content$/;

/** True for a body of bytes that is streamed: of any length, and for as long as it takes. */
export function carriesContent(method: string | undefined, path: string): boolean {
  return method === 'PUT' && CONTENT_PATH.test(path);
}

/** `handler` for all requests but those that carry content. */
export function exceptContent(handler: MiddlewareHandler<AppEnv>): MiddlewareHandler<AppEnv> {
  return (c, next) => (carriesContent(c.req.method, c.req.path) ? next() : handler(c, next));
}

const limitTo = (mib: number): MiddlewareHandler<AppEnv> =>
  bodyLimit({
    maxSize: mib * MIB,
    onError: () => {
      throw new Refusal('body_too_large', `The body is larger than ${mib} MiB; send less.`);
    },
  });

const limitOthers = limitTo(1);
/** A hundred thousand changed extents take 5 MiB. */
const limitNewBlock = limitTo(8);
const NEW_BLOCK_PATH = '/openstore_v1/blocks';

export const limitBody: MiddlewareHandler<AppEnv> = (c, next) =>
  c.req.method === 'PUT' && c.req.path === NEW_BLOCK_PATH ? limitNewBlock(c, next) : limitOthers(c, next);

/** PUT and POST carry JSON, or nothing at all. */
export const jsonBody: MiddlewareHandler<AppEnv> = async (c, next) => {
  if (c.req.method !== 'PUT' && c.req.method !== 'POST') return next();
  const text = await c.req.text();
  if (text === '') return next();
  const type = (c.req.header('Content-Type') ?? '').split(';')[0]!.trim().toLowerCase();
  if (type !== 'application/json') {
    throw new Refusal('unsupported_media_type', 'Send the body as JSON with "Content-Type: application/json".');
  }
  return next();
};

/** The parsed body; undefined for none. Refusal `invalid_json` for what is no JSON. */
export async function readJson(c: Context): Promise<unknown> {
  const text = await c.req.text();
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new Refusal('invalid_json', `The body is no JSON: ${(error as Error).message}.`, {}, { cause: error });
  }
}

/** A read that takes longer than this waits on a database that is not answering. */
export const limitReads: MiddlewareHandler<AppEnv> = async (c, next) => {
  if (c.req.method !== 'GET') return next();
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(databaseUnavailable()), READ_LIMIT_MS);
  });
  try {
    await Promise.race([next(), limit]);
  } finally {
    clearTimeout(timer);
  }
};
