/**
 * Tokens of pool servers. A center signs them (Ed25519); a pool server needs only the center's public key. Each names a pool, a block (or
 * the pool as a whole) and one right, and is short-lived. `v1.<payload>.<signature>`, both base64url; the payload is JSON.
 */
import { createHmac, type KeyObject, sign, timingSafeEqual, verify } from 'node:crypto';
import { PermanentError } from '@openservice/domain';
import { z } from 'zod';
import { POOL_RIGHTS, type PoolRight } from './rpc.ts';

export const POOL_TOKEN_MS = 10 * 60_000;

const payloadSchema = z.object({
  pool: z.string(),
  /** Null: the pool as a whole; `list`, `probe` and `collect` need it so. */
  block: z.string().nullable(),
  right: z.enum(POOL_RIGHTS),
  /** Unix ms. */
  exp: z.number().int(),
});
export type PoolTokenPayload = z.infer<typeof payloadSchema>;

const encode = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString('base64url');

export function signPoolToken(payload: PoolTokenPayload, privateKey: KeyObject): string {
  const body = `v1.${encode(JSON.stringify(payload))}`;
  return `${body}.${encode(sign(null, Buffer.from(body), privateKey))}`;
}

/** PermanentError `unauthorized` for a token that is forged, damaged or expired at `now` (Unix ms). */
export function readPoolToken(token: string, publicKey: KeyObject, now: number): PoolTokenPayload {
  const parts = token.split('.');
  const [version, payload, signature] = parts;
  if (parts.length !== 3 || version !== 'v1' || payload === undefined || signature === undefined) throw unauthorized('is none');
  if (!verify(null, Buffer.from(`v1.${payload}`), publicKey, Buffer.from(signature, 'base64url')))
    throw unauthorized('was not signed by the center of this node');
  const read = payloadSchema.safeParse(JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')));
  if (!read.success) throw unauthorized('is none');
  if (read.data.exp <= now) throw unauthorized('has expired; check the clocks of center and node');
  return read.data;
}

/** True when the token allows `right` on `block` of `pool`. A right to write is one to read. */
export function tokenAllows(token: PoolTokenPayload, pool: string, block: string | null, right: PoolRight): boolean {
  const sameRight = token.right === right || (token.right === 'write' && right === 'read');
  return token.pool === pool && token.block === block && sameRight;
}

export interface PoolLogin {
  access_key: string;
  nonce: string;
  issued_at: string;
  pool: string;
  block_id: string | null;
  right: PoolRight;
}

/** HMAC-SHA256 with the secret key, hex. */
export function signPoolLogin(login: PoolLogin, secretKey: string): string {
  const { access_key, nonce, issued_at, pool, block_id, right } = login;
  const text = ['openservice-pool-login', access_key, nonce, issued_at, pool, block_id ?? '', right].join('\n');
  return createHmac('sha256', secretKey).update(text).digest('hex');
}

export function isPoolLogin(login: PoolLogin & { signature: string }, secretKey: string): boolean {
  const [expected, given] = [Buffer.from(signPoolLogin(login, secretKey)), Buffer.from(login.signature)];
  return expected.length === given.length && timingSafeEqual(expected, given);
}

function unauthorized(what: string): PermanentError {
  return new PermanentError('unauthorized', `The token for the pool server ${what}.`);
}
