import { setTimeout as delay } from 'node:timers/promises';

/** Looks until `look` answers something true; fails after `limitMs` with `what`. For states of other processes that send no signal. */
export async function until<T>(what: string, look: () => Promise<T | false | null | undefined>, limitMs = 15_000): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`Not seen within ${limitMs} ms: ${what}`);
    await delay(10);
  }
}
