/** How the chunks of an encrypted pool are sealed: each record by a key of its own. A pool that is not encrypted has none of it. */
import { randomBytes } from 'node:crypto';
import type { ChunkSeal } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import type { PoolKeys } from '../sealed/keys.ts';
import { NONCE_BYTES } from './record.ts';

/** A new record's nonce, and the seal that it makes; nothing where `keys` is null. */
export function newSeal(keys: PoolKeys | null, id: Buffer): { nonce: Buffer | null; seal: { seal?: ChunkSeal } } {
  if (keys === null) return { nonce: null, seal: {} };
  const nonce = randomBytes(NONCE_BYTES);
  return { nonce, seal: { seal: { key: keys.record(nonce), aad: id } } };
}

/** The seal of a stored record. PermanentError `unknown_format` for a sealed record in a pool without a key, and the other way round. */
export function sealOf(keys: PoolKeys | null, id: Buffer, nonce: Buffer | null, firstFrame: number): { seal?: ChunkSeal } {
  if (nonce === null && keys === null) return {};
  if (nonce === null || keys === null)
    throw new PermanentError('unknown_format', 'a chunk record is sealed otherwise than its pool says');
  return { seal: { key: keys.record(nonce), aad: id, firstFrame } };
}
