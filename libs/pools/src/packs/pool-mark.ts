/** `pool.json`: whose this place is, and the key that chunk ids are made with. */
import { randomBytes } from 'node:crypto';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { PermanentError } from '@openservice/domain';
import type { PoolKeys } from '../sealed/keys.ts';

const FORMAT = 'openservice-packs';
const VERSION = 1;
const CIPHER = 'aes-256-gcm';

export interface PoolMark {
  poolId: string;
  digestKey: Buffer;
}

/** `keys`: of an encrypted pool, whose digest key is made of the pool key and stands nowhere. */
export function newPoolMark(poolId: string, keys: PoolKeys | null): Buffer {
  const secret =
    keys === null ? { digest_key: randomBytes(32).toString('hex') } : { encryption: { cipher: CIPHER, key_check: keys.check } };
  const mark = { format: FORMAT, version: VERSION, pool_id: poolId, ...secret, created_at: new Date().toISOString() };
  return Buffer.from(`${JSON.stringify(mark, null, 2)}\n`);
}

/**
 * PermanentError `pool_path_in_use` for a mark that is none, `unknown_format` for a newer version's, `wrong_pool_key` for an encrypted pool
 * whose key `keys` do not come from, or that is not encrypted at all; `where` is for the message.
 */
export function parsePoolMark(bytes: Buffer, where: string, keys: PoolKeys | null): PoolMark {
  let mark: Record<string, unknown>;
  try {
    mark = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw new PermanentError('pool_path_in_use', `The pool.json in the ${where} is not of openservice or is damaged.`, { cause });
  }
  if (mark === null || mark.format !== FORMAT || typeof mark.pool_id !== 'string') {
    throw new PermanentError('pool_path_in_use', `The pool.json in the ${where} is not that of an openservice packs pool.`);
  }
  if (mark.version !== VERSION) {
    throw new PermanentError(
      'unknown_format',
      `The pool in the ${where} has format version ${mark.version}; update this node to use it.`,
    );
  }
  return { poolId: mark.pool_id, digestKey: digestKeyOf(mark, where, keys) };
}

function digestKeyOf(mark: Record<string, unknown>, where: string, keys: PoolKeys | null): Buffer {
  const encryption = mark.encryption as { cipher?: unknown; key_check?: unknown } | undefined;
  if (encryption === undefined && keys !== null)
    throw new PermanentError('wrong_pool_key', `The pool in the ${where} is not encrypted; create it without encryption.`);
  if (encryption !== undefined && keys === null)
    throw new PermanentError('wrong_pool_key', `The pool in the ${where} is encrypted; give its exported key and passphrase.`);
  if (encryption !== undefined && keys !== null) {
    if (encryption.cipher !== CIPHER)
      throw new PermanentError(
        'unknown_format',
        `The pool in the ${where} is encrypted with ${encryption.cipher}; update this node.`,
      );
    if (encryption.key_check !== keys.check)
      throw new PermanentError('wrong_pool_key', `The pool in the ${where} was encrypted with another key than the one given.`);
    return keys.digest;
  }
  if (!/^[0-9a-f]{64}$/.test(String(mark.digest_key)))
    throw new PermanentError('pool_path_in_use', `The pool.json in the ${where} is damaged: it has no digest_key.`);
  return Buffer.from(String(mark.digest_key), 'hex');
}

const hashers = new WeakMap<Buffer, Blake3Hasher>();

/** A chunk's id in the pool: keyed, so that ids tell a stranger nothing of the content. */
export function chunkId(digestKey: Buffer, digest: Buffer): Buffer {
  let hasher = hashers.get(digestKey);
  if (hasher === undefined) {
    hasher = Blake3Hasher.newKeyed(digestKey);
    hashers.set(digestKey, hasher);
  }
  // It keeps its key. To make one costs several times what it is used for.
  hasher.reset();
  return hasher.update(digest).digestBuffer();
}
