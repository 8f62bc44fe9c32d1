/** Keys of an encrypted pool, all made from its one pool key (docs/format.md, Encryption): keyed BLAKE3 over a label. */
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { PermanentError } from '@openservice/domain';

export interface PoolKeys {
  /** Chunk ids are made with it. */
  digest: Buffer;
  /** Seals the small objects. */
  objects: Buffer;
  /** Says which pool key a pool was made with, and nothing of the key. */
  check: string;
  /** The key of one chunk record, from the record's own nonce. */
  record(nonce: Buffer): Buffer;
}

/** `poolKey`: 32 bytes in hex. PermanentError `wrong_pool_key` for anything else. */
export function poolKeys(poolKey: string): PoolKeys {
  if (!/^[0-9a-f]{64}$/.test(poolKey)) throw new PermanentError('wrong_pool_key', 'A pool key is 32 bytes in hex.');
  const key = Buffer.from(poolKey, 'hex');
  const derive = (label: string, more: Buffer = Buffer.alloc(0)): Buffer =>
    Blake3Hasher.newKeyed(key)
      .update(Buffer.from(`openservice ${label}\0`))
      .update(more)
      .digestBuffer();
  return {
    digest: derive('digest'),
    objects: derive('objects'),
    check: derive('check').toString('hex', 0, 16),
    record: (nonce) => derive('record', nonce),
  };
}
