/** What a node stands on: its data directory, its journal, its Redis. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { TransientError } from '@openservice/domain';
import type { Check } from './health.ts';
import type { Journal } from './journal/journal.ts';

const PROBE_BYTES = 4096;

/**
 * A small file is written in place and synced, off this thread: does the disk take it, and in time? Its room is kept. A disk that is full makes
 * a node unwell once its journal finds no room either, and no sooner: until then the node can be told to delete, collect and unload.
 */
export function diskCheck(dataDir: string): Check {
  const path = join(dataDir, 'health.probe');
  const bytes = Buffer.alloc(PROBE_BYTES, 1);
  return {
    name: `The data directory ${dataDir}`,
    async probe() {
      const file = await open(path, constants.O_WRONLY | constants.O_CREAT, 0o600);
      try {
        await file.write(bytes, 0, bytes.length, 0);
        await file.datasync();
      } finally {
        await file.close();
      }
    },
  };
}

/** Asks only one that has failed: one that works is written to all the time. */
export function journalCheck(journal: Pick<Journal, 'healthy' | 'tryWrite'>): Check {
  return {
    name: 'The journal',
    async probe() {
      if (!journal.healthy) journal.tryWrite(Date.now());
    },
  };
}

/** Away for a while is nothing: what runs goes on, and what waits is queued again. `ping` rejects, or hangs, while it is away. */
export function redisCheck(ping: () => Promise<void>, awayMs: number, now: () => number = () => performance.now()): Check {
  let answeredAt = now();
  let asking = false;
  return {
    name: 'Redis',
    async probe() {
      if (!asking) {
        asking = true;
        void ping()
          .then(() => {
            answeredAt = now();
          })
          .catch(() => undefined)
          .finally(() => {
            asking = false;
          });
      }
      const away = now() - answeredAt;
      if (away < awayMs) return;
      throw new TransientError('redis_away', `it has not answered for ${Math.round(away / 1000)} s, so no job can be started.`);
    },
  };
}
