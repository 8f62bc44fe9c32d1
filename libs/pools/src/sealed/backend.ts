/**
 * Seals the small objects of an encrypted pool with AES-256-GCM: "OSSEALD1", nonce 12 (random), ciphertext, tag 16. The object's key
 * is authenticated with it, so that no object can stand in for another. What must be read without the pool's key, or is sealed
 * by itself (packs), passes as it is. Goes around retries: a retried put sends the same bytes.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { PermanentError } from '@openservice/domain';
import type { Backend } from '../backend.ts';

const MAGIC = Buffer.from('OSSEALD1', 'latin1');
const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const OVERHEAD = MAGIC.length + NONCE_BYTES + TAG_BYTES;
/** Object kinds that hold names, digests or places of a block's content. */
const SEALED = /^(?:blocks|sessions|segments|index)\//;

/** `key`: 32 bytes. PermanentError `damaged_object` for what does not open. */
export function withSealing(backend: Backend, key: Buffer): Backend {
  const whole = async (name: string, signal: AbortSignal): Promise<Buffer> =>
    open(await backend.get(name, null, signal), name, key, backend.name);
  return {
    name: backend.name,
    get fencing() {
      return backend.fencing;
    },
    get bytesSent() {
      return backend.bytesSent;
    },
    put: (name, parts, signal) => {
      if (!SEALED.test(name)) return backend.put(name, parts, signal);
      const plain = parts instanceof Uint8Array ? Buffer.from(parts) : Buffer.concat([...parts]);
      return backend.put(name, seal(plain, name, key), signal);
    },
    putIfAbsent: (name, bytes, signal) =>
      backend.putIfAbsent(name, SEALED.test(name) ? seal(Buffer.from(bytes), name, key) : bytes, signal),
    async get(name, range, signal, room) {
      if (!SEALED.test(name)) return backend.get(name, range, signal, room);
      const plain = await whole(name, signal);
      return range === null ? plain : plain.subarray(range.offset, range.offset + range.length);
    },
    async head(name, signal) {
      const size = await backend.head(name, signal);
      return size === null || !SEALED.test(name) ? size : Math.max(0, size - OVERHEAD);
    },
    list: (prefix, signal) => backend.list(prefix, signal),
    remove: (name, signal) => backend.remove(name, signal),
    capacity: (signal) => backend.capacity(signal),
    close: () => backend.close(),
  };
}

function seal(plain: Buffer, name: string, key: Buffer): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce);
  cipher.setAAD(Buffer.from(name));
  const body = [cipher.update(plain), cipher.final()];
  return Buffer.concat([MAGIC, nonce, ...body, cipher.getAuthTag()]);
}

function open(bytes: Buffer, name: string, key: Buffer, where: string): Buffer {
  const damaged = (cause?: unknown): PermanentError =>
    new PermanentError('damaged_object', `Object ${name} in the ${where} is damaged or was not sealed with this pool's key.`, {
      cause,
    });
  if (bytes.length < OVERHEAD || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw damaged();
  const decipher = createDecipheriv(CIPHER, key, bytes.subarray(MAGIC.length, MAGIC.length + NONCE_BYTES));
  decipher.setAAD(Buffer.from(name));
  decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
  const plain = decipher.update(bytes.subarray(MAGIC.length + NONCE_BYTES, bytes.length - TAG_BYTES));
  try {
    return Buffer.concat([plain, decipher.final()]);
  } catch (cause) {
    throw damaged(cause);
  }
}
