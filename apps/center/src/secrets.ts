/**
 * Secrets at rest: AES-256-GCM under one master key, which lives outside the database (a file of the data directory, or the
 * environment when several centers share it). Sealed text is `v1.<nonce>.<tag>.<ciphertext>`, base64url.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { PermanentError } from '@openservice/domain';
import { madeOnce } from './made-once.ts';

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const KEY_FILE = 'master.key';

export interface Secrets {
  seal(text: string): string;
  /** PermanentError `secret_unreadable` when it was sealed under another key or was changed. */
  open(sealed: string): string;
  /** 32 bytes made of the master key for one purpose (HKDF-SHA256): the same for every center that has the same key. */
  derive(purpose: string): Buffer;
}

export function createSecrets(key: Uint8Array): Secrets {
  if (key.length !== KEY_BYTES) throw badKey(`it has ${key.length} bytes`);
  return {
    seal(text) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, nonce);
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return ['v1', ...[nonce, cipher.getAuthTag(), body].map((part) => part.toString('base64url'))].join('.');
    },
    open(sealed) {
      const [version, nonce, tag, body] = sealed.split('.');
      try {
        if (version !== 'v1' || nonce === undefined || tag === undefined || body === undefined)
          throw new Error('not sealed text');
        const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(nonce, 'base64url'), { authTagLength: 16 });
        decipher.setAuthTag(Buffer.from(tag, 'base64url'));
        return Buffer.concat([decipher.update(Buffer.from(body, 'base64url')), decipher.final()]).toString('utf8');
      } catch (cause) {
        throw new PermanentError(
          'secret_unreadable',
          `A stored secret cannot be opened with this center's master key; give it the key it was sealed with (${KEY_FILE} or OPENSERVICE_MASTER_KEY).`,
          { cause },
        );
      }
    },
    derive: (purpose) => Buffer.from(hkdfSync('sha256', key, '', purpose, KEY_BYTES)),
  };
}

/**
 * The master key: `fromEnvironment` (64 hex digits or base64 of 32 bytes) where it is given, else `<dataDir>/master.key`, made
 * at first start with mode 0600. PermanentError `bad_master_key` when it is not 32 bytes.
 */
export async function loadSecrets(dataDir: string, fromEnvironment?: string): Promise<Secrets> {
  if (fromEnvironment !== undefined && fromEnvironment !== '') {
    const hex = /^[0-9a-f]{64}$/i.test(fromEnvironment);
    return createSecrets(Buffer.from(fromEnvironment, hex ? 'hex' : 'base64'));
  }
  const path = join(dataDir, KEY_FILE);
  const key = await madeOnce(path, () => randomBytes(KEY_BYTES));
  await chmod(path, 0o600);
  return createSecrets(key);
}

function badKey(why: string): PermanentError {
  return new PermanentError('bad_master_key', `The master key must be ${KEY_BYTES} random bytes; ${why}.`);
}
