/** Bearer tokens: kept as SHA-256 alone, looked up by the hash, so no comparison leaks how much of one was right. */
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { newId } from '@openservice/domain';
import type { DataSource, Token } from '@openservice/store';
import type { Context, MiddlewareHandler } from 'hono';
import { madeOnce } from '../made-once.ts';
import { mayActAs, type Role } from '../services/caller.ts';
import { Refusal } from '../services/refusal.ts';
import type { AppDeps, AppEnv } from './deps.ts';
import { databaseUnavailable } from './problem.ts';

const DATABASE_LIMIT_MS = 2_000;

export const hashToken = (token: string): string => createHash('sha256').update(token).digest('hex');

/**
 * The admin token in `dataDir`/token (mode 0600): made at the first start, read at every other; its hash stands in the
 * database. Answers the token.
 */
export async function ensureAdminToken(database: DataSource, dataDir: string): Promise<string> {
  const path = join(dataDir, 'token');
  const made = await madeOnce(path, () => Buffer.from(`ost_${randomBytes(32).toString('base64url')}\n`));
  const token = made.toString('utf8').trim();
  if (token === '') throw new Error(`The token file ${path} is empty; remove it and start again.`);
  await database.query('INSERT IGNORE INTO tokens (id, name, role, token_hash, created_at) VALUES (?, ?, ?, ?, ?)', [
    newId('req').replace('req-', 'token-'),
    'admin',
    'admin',
    hashToken(token),
    new Date(),
  ]);
  return token;
}

/** The token's row or null. TransientError `database_unavailable` when the database does not answer within 2 s. */
export function findToken(database: DataSource, token: string): Promise<Token | null> {
  return findTokenByHash(database, hashToken(token));
}

export async function findTokenByHash(database: DataSource, hash: string): Promise<Token | null> {
  if (!database.isInitialized) throw databaseUnavailable();
  // Asked by every request; as plain SQL it costs a fraction.
  const lookup = database
    .query<Token[]>('SELECT id, name, role, token_hash, created_at FROM tokens WHERE token_hash = ?', [hash])
    .then(([token]) => token ?? null);
  lookup.catch(() => undefined); // when it loses the race, its failure was told as database_unavailable
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(databaseUnavailable()), DATABASE_LIMIT_MS);
  });
  try {
    return await Promise.race([lookup, limit]);
  } finally {
    clearTimeout(timer);
  }
}

const unauthorized = (): Refusal =>
  new Refusal(
    'unauthorized',
    'Send a valid token as "Authorization: Bearer <token>"; the first one stands in the file "token" of the center.',
  );

/** Bearer token → caller. Every request asks the database, so a database that is away shows here, within 2 s. */
export function authenticate(deps: AppDeps): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    const bearer = /^Bearer +([\x21-\x7e]{1,512})$/i.exec(c.req.header('Authorization') ?? '');
    if (bearer === null) throw unauthorized();
    const token = await findToken(deps.database, bearer[1]!);
    if (token === null) throw unauthorized();
    c.set('caller', { tokenId: token.id, role: token.role, traceparent: c.get('traceparent') });
    return next();
  };
}

/** Reading is for everybody with a token, changing for operators; use cases ask for more where it is needed. */
export const roleByMethod: MiddlewareHandler<AppEnv> = async (c, next) => {
  requireRole(c, c.req.method === 'GET' || c.req.method === 'HEAD' ? 'viewer' : 'operator');
  return next();
};

export function requireRole(c: Context<AppEnv>, role: Role): void {
  const caller = c.get('caller');
  if (mayActAs(caller, role)) return;
  throw new Refusal('forbidden', `This needs the role ${role}; the token has the role ${caller.role}.`);
}
