/**
 * Tokens for the pool server, one for each block (or the pool as a whole) and right. A node of the same center asks that center, which is
 * the environment's to keep; with an access key we log in at the server, and keep the token until shortly before it expires.
 */
import { randomBytes } from 'node:crypto';
import { PermanentError, type RemotePoolSpec } from '@openservice/domain';
import { type PoolLogin, type PoolRight, signPoolLogin } from '@openservice/protocol';
import type { PoolEnvironment } from '../environment.ts';

/** A token is not used any more so long before it expires, or in the last third of its life. */
const SPARE_MS = 60_000;
const MAX_KEPT = 1000;

export type LoginRequest = PoolLogin & { signature: string };

/** The two calls of the server that need no token. */
export interface LoginCalls {
  /** What the pool is called in tokens. */
  resource(signal: AbortSignal): Promise<string>;
  login(request: LoginRequest, signal: AbortSignal): Promise<{ token: string; expires_in_ms: number }>;
}

export interface TokenSource {
  get(blockId: string | null, right: PoolRight, signal: AbortSignal): Promise<string>;
  /** The server refused it: the next `get` asks anew. */
  drop(token: string): void;
}

export function tokenSource(spec: RemotePoolSpec, env: PoolEnvironment, calls: LoginCalls): TokenSource {
  const { auth } = spec;
  if (auth.type === 'access_key') return new KeyTokens(auth, calls);
  return {
    get: (blockId, right, signal) => {
      if (env.poolToken === undefined)
        throw new PermanentError('no_center', 'There is no center here to ask for a token of a pool server.');
      return env.poolToken(spec.id, blockId, right, signal);
    },
    drop: (token) => env.dropPoolToken?.(token),
  };
}

interface Kept {
  token: string;
  /** On performance.now()'s clock. */
  until: number;
}

class KeyTokens implements TokenSource {
  readonly #key: { access_key: string; secret_key: string };
  readonly #calls: LoginCalls;
  readonly #kept = new Map<string, Kept>();
  #resource: string | null = null;

  constructor(key: { access_key: string; secret_key: string }, calls: LoginCalls) {
    this.#key = key;
    this.#calls = calls;
  }

  async get(blockId: string | null, right: PoolRight, signal: AbortSignal): Promise<string> {
    const place = `${right} ${blockId ?? ''}`;
    const there = this.#kept.get(place);
    if (there !== undefined && there.until > performance.now()) return there.token;
    this.#resource ??= await this.#calls.resource(signal);
    const login: PoolLogin = {
      access_key: this.#key.access_key,
      nonce: randomBytes(16).toString('hex'),
      issued_at: new Date().toISOString(),
      pool: this.#resource,
      block_id: blockId,
      right,
    };
    const asked = performance.now();
    const { token, expires_in_ms } = await this.#calls.login(
      { ...login, signature: signPoolLogin(login, this.#key.secret_key) },
      signal,
    );
    this.#kept.delete(place);
    this.#kept.set(place, { token, until: asked + expires_in_ms - Math.min(SPARE_MS, expires_in_ms / 3) });
    if (this.#kept.size > MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    return token;
  }

  drop(token: string): void {
    for (const [place, kept] of this.#kept) if (kept.token === token) this.#kept.delete(place);
  }
}
