/**
 * The key that signs tokens for pool servers (Ed25519). It is made of the master key, so all centers of one database sign alike and nothing
 * is stored; nodes are told the public half with every sync.
 */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { POOL_TOKEN_MS, type PoolTokenPayload, signPoolToken } from '@openservice/protocol';
import type { Secrets } from './secrets.ts';

const PURPOSE = 'openservice pool tokens';
/** RFC 8410: the PKCS #8 DER of an Ed25519 key is this and the 32 bytes of its seed. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex');

export interface PoolTokens {
  /** SPKI DER, base64: what a pool server checks tokens with. */
  readonly publicKey: string;
  sign(what: Omit<PoolTokenPayload, 'exp'>): { token: string; expires_in_ms: number };
}

export function poolTokens(secrets: Pick<Secrets, 'derive'>): PoolTokens {
  const seed = secrets.derive(PURPOSE);
  const privateKey: KeyObject = createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, seed]), format: 'der', type: 'pkcs8' });
  return {
    publicKey: createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).toString('base64'),
    sign: (what) => ({
      token: signPoolToken({ ...what, exp: Date.now() + POOL_TOKEN_MS }, privateKey),
      expires_in_ms: POOL_TOKEN_MS,
    }),
  };
}
