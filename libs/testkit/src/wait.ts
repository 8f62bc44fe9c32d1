import { setTimeout as pause } from 'node:timers/promises';

/** The first value of `look` that is not undefined, null or false. Throws after `limitMs`, naming `what`. */
export async function waitFor<T>(
  what: string,
  look: () => T | Promise<T>,
  limitMs = 10_000,
): Promise<NonNullable<Exclude<T, false>>> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const value = await look();
    if (value !== undefined && value !== null && value !== false) return value as NonNullable<Exclude<T, false>>;
    if (Date.now() > deadline) throw new Error(`Waited ${limitMs} ms for: ${what}.`);
    await pause(20);
  }
}
