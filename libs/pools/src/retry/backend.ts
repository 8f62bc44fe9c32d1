/** Tries again what failed with a TransientError; anything else goes through at once. */
import { setTimeout } from 'node:timers/promises';
import { TransientError } from '@openservice/domain';
import type { Backend, ObjectInfo } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';

export interface RetryOptions {
  /** Tries in all, the first included. */
  tries: number;
  /** Before try n+1 it waits between half and all of baseMs × 2^(n-1), 30 s at most. */
  baseMs: number;
}

const MAX_WAIT_MS = 30_000;

export function withRetry(backend: Backend, options: RetryOptions): Backend {
  const again = <T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> => retry(call, options, signal);
  return {
    name: backend.name,
    // Asked each time: S3 proves it with the first conditional write.
    get fencing() {
      return backend.fencing;
    },
    get bytesSent() {
      return backend.bytesSent;
    },
    put: (key, parts, signal) => again(signal, () => backend.put(key, parts, signal)),
    // A try that was made but not answered looks like another's object to the next try: the backend tells them apart.
    putIfAbsent: (key, bytes, signal) => again(signal, () => backend.putIfAbsent(key, bytes, signal)),
    get: (key, range, signal, room) => again(signal, () => backend.get(key, range, signal, room)),
    head: (key, signal) => again(signal, () => backend.head(key, signal)),
    list: (prefix, signal) => listAgain(backend, prefix, options, signal),
    remove: (key, signal) => again(signal, () => backend.remove(key, signal)),
    capacity: (signal) => again(signal, () => backend.capacity(signal)),
    close: () => backend.close(),
  };
}

async function retry<T>(call: () => Promise<T>, options: RetryOptions, signal: AbortSignal): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof TransientError) || tries >= options.tries) throw error;
      await pause(tries, options, signal);
    }
  }
}

/** A list that breaks off is begun again; what it told already is passed over. */
async function* listAgain(
  backend: Backend,
  prefix: string,
  options: RetryOptions,
  signal: AbortSignal,
): AsyncIterable<ObjectInfo> {
  let last = '';
  for (let tries = 1; ; tries++) {
    try {
      for await (const info of backend.list(prefix, signal)) {
        if (info.key <= last) continue;
        last = info.key;
        tries = 1;
        yield info;
      }
      return;
    } catch (error) {
      if (!(error instanceof TransientError) || tries >= options.tries) throw error;
      await pause(tries, options, signal);
    }
  }
}

async function pause(tries: number, options: RetryOptions, signal: AbortSignal): Promise<void> {
  const full = Math.min(MAX_WAIT_MS, options.baseMs * 2 ** (tries - 1));
  await setTimeout(full * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => throwIfCancelled(signal));
}
