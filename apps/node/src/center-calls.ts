/** What this node asks of a center beside the agent's protocol: specs and tokens of pools, and what jobs tell of. */
import { asOpenServiceError, type PoolSpec } from '@openservice/domain';
import type { CenterMethod, PoolRight } from '@openservice/protocol';
import { Backoff, type CenterReply, type CenterRequest, callCenter, type Logger, orAborted } from '@openservice/runtime';
import type { NatsConnection } from 'nats';
import type { CenterCalls } from './jobs/deps.ts';

const CALL_MS = 5000;
/** A batch of a rebuild is some hundred rows in one transaction. */
const LONG_CALL_MS = 30_000;
/** A token is got anew this long before it ends, so that none ends on its way. */
const TOKEN_MARGIN_MS = 60_000;

export interface CenterOptions {
  nc: NatsConnection;
  nodeId: string;
  log: Logger;
}

interface Token {
  text: string;
  /** On performance.now()'s clock. */
  goodUntil: number;
}

/** All but `poolLogin` wait while no center answers, and reject soon after `signal` fires. Errors are the center's own. */
export class Center implements CenterCalls {
  readonly #options: CenterOptions;
  readonly #tokens = new Map<string, Token>();

  constructor(options: CenterOptions) {
    this.#options = options;
  }

  record(request: CenterRequest<'record'>, signal: AbortSignal): Promise<CenterReply<'record'>> {
    return this.#ask('record', request, CALL_MS, signal);
  }

  found(request: CenterRequest<'found'>, signal: AbortSignal): Promise<CenterReply<'found'>> {
    return this.#ask('found', request, LONG_CALL_MS, signal);
  }

  async poolSpec(poolId: string, signal: AbortSignal): Promise<PoolSpec> {
    return (await this.#ask('pool', { pool_id: poolId }, CALL_MS, signal)).spec;
  }

  /** A token of this center for a pool server; kept until shortly before its end. */
  async poolToken(poolId: string, blockId: string | null, right: PoolRight, signal: AbortSignal): Promise<string> {
    const name = `${poolId} ${blockId ?? ''} ${right}`;
    const now = performance.now();
    const there = this.#tokens.get(name);
    if (there !== undefined && there.goodUntil > now) return there.text;
    for (const [old, { goodUntil }] of this.#tokens) if (goodUntil <= now) this.#tokens.delete(old);
    const reply = await this.#ask('pool_token', { pool_id: poolId, block_id: blockId, right }, CALL_MS, signal);
    this.#tokens.set(name, { text: reply.token, goodUntil: now + goodFor(reply.expires_in_ms) });
    return reply.token;
  }

  /** A pool server refused it (the key of a center that was set up anew, a clock that was wrong): it is not handed out again. */
  dropToken(token: string): void {
    for (const [name, { text }] of this.#tokens) if (text === token) this.#tokens.delete(name);
  }

  /** For a client of another center. One try: the client is there and waits, and asks again itself. */
  poolLogin(request: CenterRequest<'pool_login'>): Promise<CenterReply<'pool_login'>> {
    const { nc, nodeId } = this.#options;
    return callCenter(nc, nodeId, 'pool_login', request, { timeoutMs: CALL_MS });
  }

  async #ask<M extends CenterMethod>(
    method: M,
    request: CenterRequest<M>,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<CenterReply<M>> {
    const { nc, nodeId, log } = this.#options;
    const backoff = new Backoff({ minMs: 100, maxMs: 5000 });
    for (;;) {
      try {
        return await orAborted(callCenter(nc, nodeId, method, request, { timeoutMs }), signal);
      } catch (error) {
        signal.throwIfAborted();
        if (asOpenServiceError(error).outcome !== 'transient') throw error;
        log.debug({ method, err: error }, 'No center answers; asking on.');
        await backoff.wait(signal);
      }
    }
  }
}

/** A token that lives shorter than two margins is kept for half of its life. */
function goodFor(expiresInMs: number): number {
  return Math.max(expiresInMs - TOKEN_MARGIN_MS, expiresInMs / 2);
}
