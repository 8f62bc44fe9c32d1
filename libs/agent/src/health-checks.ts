/** What a node stands on: its data directory, its journal, its Redis. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TransientError } from '@openservice/domain';
import type { Check } from './health.ts';
import type { Journal } from './journal/journal.ts';

/** Enough to need new room on the disk, little enough to cost nothing. */
const PROBE_BYTES = 64 * 1024;

/** A small file is written, synced and removed, off this thread: is there room, and does the disk answer? */
export function diskCheck(dataDir: string): Check {
  const path = join(dataDir, 'health.probe');
  const bytes = Buffer.alloc(PROBE_BYTES, 1);
  return {
    name: `The data directory ${dataDir}`,
    async probe() {
      try {
        await writeFile(path, bytes, { flush: true });
      } catch (error) {
        await rm(path, { force: true }).catch(() => undefined);
        throw error;
      }
      await rm(path, { force: true });
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
