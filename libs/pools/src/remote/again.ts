/** Tries again what the network, or a server that is busy or stops, made fail. What the pool itself says goes through at once. */
import { setTimeout } from 'node:timers/promises';
import { TransientError } from '@openservice/domain';
import { throwIfCancelled } from '../cancel.ts';

const TRIES = 5;
const BASE_MS = 250;
const CODES: ReadonlySet<string> = new Set(['unreachable', 'timed_out', 'server_stopping', 'server_busy', 'token_key_unknown']);

export function mayTryAgain(error: unknown): boolean {
  return error instanceof TransientError && CODES.has(error.code);
}

/** Waits between half and all of 250 ms × 2^(n-1) before try n+1. `call` may be repeated after an answer that was lost. */
export async function again<T>(call: () => Promise<T>, signal: AbortSignal, tries: number = TRIES): Promise<T> {
  for (let n = 1; ; n++) {
    try {
      return await call();
    } catch (error) {
      if (!mayTryAgain(error) || n >= tries) throw error;
      await pauseBefore(n, signal);
    }
  }
}

/** The wait after try `n`. */
export async function pauseBefore(n: number, signal: AbortSignal): Promise<void> {
  const full = BASE_MS * 2 ** (n - 1);
  await setTimeout(full * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => throwIfCancelled(signal));
}

export const MAX_TRIES: number = TRIES;
