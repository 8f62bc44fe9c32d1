/** A small random generator that a seed decides: the same in every run. */
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';

export type Random = () => number;

/** Numbers from 0 up to 1 (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * Until the answer is called, node:crypto's randomBytes come from `random`: salts, and so the names and the order of objects, are then the same
 * in every run of one seed.
 */
export function seedRandomBytes(random: Random): () => void {
  const before = crypto.randomBytes;
  const replace = (made: unknown): void => {
    (crypto as unknown as { randomBytes: unknown }).randomBytes = made;
    syncBuiltinESMExports();
  };
  replace((length: number) => {
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; at++) bytes[at] = random() * 256;
    return bytes;
  });
  return () => replace(before);
}
