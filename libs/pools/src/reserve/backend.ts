/**
 * Room kept back for the writes that free a full store. To remove a block its ledger must say so first, and that entry needs
 * room: on a disk without any, nothing could be removed for ever. So an object of some blocks' size is kept, and given up when a small
 * write finds no room; it is put back when there is room again.
 */
import { randomBytes } from 'node:crypto';
import { PermanentError } from '@openservice/domain';
import type { Backend } from '../backend.ts';

export const RESERVE_KEY = 'reserve';
const RESERVE_BYTES = 256 * 1024;

export interface ReservedBackend extends Backend {
  /** Puts the reserve back where it is missing and there is room; no error where there is none. */
  refill(signal: AbortSignal): Promise<void>;
}

/** For small objects only: what is written through it, and `mayUse` says so, may use up the reserve. */
export function withReserve(backend: Backend, mayUse: (key: string) => boolean = () => true): ReservedBackend {
  const giveUp = async <T>(key: string, signal: AbortSignal, write: () => Promise<T>): Promise<T> => {
    try {
      return await write();
    } catch (error) {
      if (!isFull(error) || !mayUse(key) || (await backend.head(RESERVE_KEY, signal)) === null) throw error;
      await backend.remove(RESERVE_KEY, signal);
      return write();
    }
  };
  return {
    name: backend.name,
    get fencing() {
      return backend.fencing;
    },
    get bytesSent() {
      return backend.bytesSent;
    },
    put: (key, parts, signal) => giveUp(key, signal, () => backend.put(key, parts, signal)),
    putIfAbsent: (key, bytes, signal) => giveUp(key, signal, () => backend.putIfAbsent(key, bytes, signal)),
    get: (key, range, signal, room) => backend.get(key, range, signal, room),
    head: (key, signal) => backend.head(key, signal),
    list: (prefix, signal) => backend.list(prefix, signal),
    remove: (key, signal) => backend.remove(key, signal),
    capacity: (signal) => backend.capacity(signal),
    close: () => backend.close(),
    async refill(signal) {
      if ((await backend.head(RESERVE_KEY, signal)) !== null) return;
      try {
        // Random, so that no filesystem shrinks it.
        await backend.put(RESERVE_KEY, randomBytes(RESERVE_BYTES), signal);
      } catch (error) {
        if (!isFull(error)) throw error;
      }
    },
  };
}

function isFull(error: unknown): boolean {
  return error instanceof PermanentError && error.code === 'no_space';
}
