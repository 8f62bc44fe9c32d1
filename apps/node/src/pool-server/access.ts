/** Who may do what: every request carries a token that the center signed for one pool, one block and one right. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { PermanentError, TransientError } from '@openservice/domain';
import { type PoolRight, readPoolToken, tokenAllows } from '@openservice/protocol';

export class Access {
  #key: KeyObject | null = null;

  /** SPKI DER in base64. PermanentError `bad_token_key`: the present key stays. */
  setKey(spkiBase64: string): void {
    try {
      const key = createPublicKey({ key: Buffer.from(spkiBase64, 'base64'), format: 'der', type: 'spki' });
      if (key.asymmetricKeyType !== 'ed25519') throw new Error(`it is of type ${key.asymmetricKeyType}`);
      this.#key = key;
    } catch (cause) {
      throw new PermanentError('bad_token_key', 'The center sent a public key for pool tokens that is no Ed25519 key.', {
        cause,
      });
    }
  }

  /**
   * PermanentError `unauthorized` (no token, forged, expired), `forbidden` (another pool, block or right); TransientError
   * `token_key_unknown` while no center has told its key.
   */
  demand(request: IncomingMessage, resource: string, block: string | null, right: PoolRight, header = 'authorization'): void {
    if (this.#key === null) {
      throw new TransientError(
        'token_key_unknown',
        'This node has not heard from its center since it started, so it cannot check tokens yet.',
      );
    }
    const given = request.headers[header];
    const match = /^Bearer ([\w.-]{1,2000})$/.exec(typeof given === 'string' ? given : '');
    if (match?.[1] === undefined) throw new PermanentError('unauthorized', 'The request carries no token for the pool server.');
    if (tokenAllows(readToken(match[1], this.#key), resource, block, right)) return;
    const what = block === null ? 'the pool as a whole' : `block ${block}`;
    throw new PermanentError('forbidden', `The token does not allow to ${right} ${what} in ${resource}.`);
  }
}

function readToken(token: string, key: KeyObject): ReturnType<typeof readPoolToken> {
  try {
    return readPoolToken(token, key, Date.now());
  } catch (error) {
    if (error instanceof PermanentError) throw error;
    throw new PermanentError('unauthorized', 'The token for the pool server cannot be read.', { cause: error });
  }
}
