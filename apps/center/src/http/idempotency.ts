/**
 * Idempotency-Key on PUT, POST and DELETE.
 *
 * 1. The key's row is inserted with no answer, in its own transaction: one request at a time owns a key.
 * 2. The use case stores the answer in its own transaction (services/answers.ts).
 * 3. A refusal (4xx) is stored afterwards; it changed nothing. A 5xx is not kept: the row goes, the call may be repeated.
 * A crash between leaves a row with no answer; after ABANDONED_MS another request with the key takes it over.
 */
import { createHash } from 'node:crypto';
import type { DataSource } from '@openservice/store';
import type { Context, MiddlewareHandler, Next } from 'hono';
import { type OpenKey, openKey, recordAnswer } from '../services/answers.ts';
import { invalidRequest, Refusal } from '../services/refusal.ts';
import type { AppDeps, AppEnv } from './deps.ts';

const ABANDONED_MS = 60_000;
const KEPT_MS = 24 * 3600_000;
const SWEEP_EVERY_MS = 60_000;
const FORM = /^[\x20-\x7e]{1,255}$/;

interface KeyRow {
  request_hash: string;
  status: number | null;
  headers: string | Record<string, string> | null;
  body: string | null;
  created_at: Date;
}

async function requestHash(c: Context): Promise<string> {
  const url = new URL(c.req.url);
  const hash = createHash('sha256');
  for (const part of [c.req.method, url.pathname, url.search, await c.req.text()]) hash.update(`${part.length}:${part}\n`);
  return hash.digest('hex');
}

/** Takes the key for this request, or answers the row of the one that has it. */
async function take(database: DataSource, key: OpenKey, hash: string): Promise<KeyRow | null> {
  const inserted = (await database.query(
    'INSERT IGNORE INTO idempotency_keys (token_id, idempotency_key, request_hash, created_at) VALUES (?, ?, ?, ?)',
    [key.tokenId, key.key, hash, key.stamp],
  )) as { affectedRows: number };
  if (inserted.affectedRows === 1) return null;
  const [row] = (await database.query(
    'SELECT request_hash, status, headers, body, created_at FROM idempotency_keys WHERE token_id = ? AND idempotency_key = ?',
    [key.tokenId, key.key],
  )) as KeyRow[];
  if (row === undefined) return take(database, key, hash); // its owner has just given it back
  const abandoned = row.status === null && row.created_at.getTime() < key.stamp.getTime() - ABANDONED_MS;
  if (!abandoned || row.request_hash !== hash) return row;
  const taken = (await database.query(
    `UPDATE idempotency_keys SET created_at = ?
     WHERE token_id = ? AND idempotency_key = ? AND status IS NULL AND created_at = ?`,
    [key.stamp, key.tokenId, key.key, row.created_at],
  )) as { affectedRows: number };
  return taken.affectedRows === 1 ? null : row;
}

function replay(row: KeyRow, hash: string): Response {
  if (row.request_hash !== hash) {
    throw new Refusal(
      'idempotency_key_reused',
      'This Idempotency-Key was used for another request; use a new key for a new request.',
    );
  }
  if (row.status === null) {
    throw new Refusal(
      'idempotency_in_progress',
      'The first request with this Idempotency-Key is still being worked on; ask again shortly.',
    );
  }
  const headers = typeof row.headers === 'string' ? (JSON.parse(row.headers) as Record<string, string>) : (row.headers ?? {});
  return new Response(row.body, { status: row.status, headers: { ...headers, 'Idempotent-Replay': 'true' } });
}

/** After the use case: keeps a refusal, gives the key back after a failure of ours. */
async function settle(database: DataSource, key: OpenKey, answer: Response): Promise<void> {
  if (key.recorded) return;
  if (answer.status >= 500) {
    await database.query(
      'DELETE FROM idempotency_keys WHERE token_id = ? AND idempotency_key = ? AND status IS NULL AND created_at = ?',
      [key.tokenId, key.key, key.stamp],
    );
    return;
  }
  const headers = { 'Content-Type': answer.headers.get('Content-Type') ?? 'application/json' };
  await recordAnswer(database.manager, key, { status: answer.status, headers, body: await answer.clone().text() });
}

export function idempotency(deps: AppDeps): MiddlewareHandler<AppEnv> {
  let sweptAt = 0;

  async function sweep(now: number): Promise<void> {
    if (now - sweptAt < SWEEP_EVERY_MS) return;
    sweptAt = now;
    await deps.database.query('DELETE FROM idempotency_keys WHERE created_at < ? LIMIT 1000', [new Date(now - KEPT_MS)]);
  }

  return async (c: Context<AppEnv>, next: Next) => {
    const given = c.req.header('Idempotency-Key');
    if (given === undefined || c.req.method === 'GET') return next();
    if (!FORM.test(given)) {
      throw invalidRequest([{ path: 'header.Idempotency-Key', message: 'must be 1 to 255 printable ASCII characters' }]);
    }
    const now = Date.now();
    await sweep(now);
    const key: OpenKey = { tokenId: c.get('caller').tokenId, key: given, stamp: new Date(now), recorded: false };
    const hash = await requestHash(c);
    const before = await take(deps.database, key, hash);
    if (before !== null) return replay(before, hash);
    await openKey.run(key, next);
    try {
      await settle(deps.database, key, c.res);
    } catch (error) {
      // The answer stands; only its row stays open, and is taken over once it is abandoned.
      deps.log.warn({ error: String(error), request_id: c.get('requestId') }, 'could not settle an idempotency key');
    }
  };
}
