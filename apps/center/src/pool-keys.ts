/**
 * Keys of encrypted pools: 32 random bytes, in hex wherever they are text. A key leaves the center in two ways only: in the spec of its
 * pool, and exported under a passphrase as
 *
 *     ospk1.<base64url without padding of 76 bytes: salt 16 | nonce 12 | sealed key 32 | tag 16>
 *
 * The sealed key is AES-256-GCM of the 32 bytes with the 5 bytes "ospk1" as additional data. Its key is scrypt (N = 2^15, r = 8, p = 1, 32
 * bytes) of the passphrase in UTF-8, normalised to NFC, and the salt.
 */
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { PermanentError } from '@openservice/domain';

const VERSION = 'ospk1';
const [KEY, SALT, NONCE, TAG] = [32, 16, 12, 16] as const;
/** scrypt takes 128 · N · r bytes, which is just what Node allows it unless told otherwise. */
const COST = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 1024 * 1024 };

const derive = promisify<string, Buffer, number, typeof COST, Buffer>(scrypt);
const wrappingKey = (passphrase: string, salt: Buffer): Promise<Buffer> => derive(passphrase.normalize('NFC'), salt, KEY, COST);

export const newPoolKey = (): string => randomBytes(KEY).toString('hex');

/** `poolKey` as a text that opens with `passphrase` alone; another one each time. */
export async function exportPoolKey(poolKey: string, passphrase: string): Promise<string> {
  const [salt, nonce] = [randomBytes(SALT), randomBytes(NONCE)];
  const cipher = createCipheriv('aes-256-gcm', await wrappingKey(passphrase, salt), nonce).setAAD(Buffer.from(VERSION));
  const sealed = Buffer.concat([cipher.update(poolKey, 'hex'), cipher.final()]);
  return `${VERSION}.${Buffer.concat([salt, nonce, sealed, cipher.getAuthTag()]).toString('base64url')}`;
}

/** The key, in hex. PermanentError `bad_pool_key` for a text that is none, `wrong_passphrase` for one that does not open. */
export async function importPoolKey(exported: string, passphrase: string): Promise<string> {
  const [version, body = '', ...more] = exported.trim().split('.');
  const bytes = Buffer.from(body, 'base64url');
  if (version !== VERSION || more.length > 0 || bytes.length !== SALT + NONCE + KEY + TAG) {
    throw new PermanentError(
      'bad_pool_key',
      `This is no exported pool key, or not the whole of it: it begins with "${VERSION}.".`,
    );
  }
  const salt = bytes.subarray(0, SALT);
  const nonce = bytes.subarray(SALT, SALT + NONCE);
  const decipher = createDecipheriv('aes-256-gcm', await wrappingKey(passphrase, salt), nonce, { authTagLength: TAG });
  decipher.setAAD(Buffer.from(VERSION)).setAuthTag(bytes.subarray(-TAG));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(SALT + NONCE, -TAG)), decipher.final()]).toString('hex');
  } catch (cause) {
    throw new PermanentError('wrong_passphrase', 'The passphrase does not open the exported key, or the text was changed.', {
      cause,
    });
  }
}
