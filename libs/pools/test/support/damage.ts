import type { Backend } from '@openservice/pools';

/** Flips a byte in the middle of every pack. */
export async function corruptPacks(backend: Backend, signal: AbortSignal): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of backend.list('packs/', signal)) keys.push(key);
  for (const key of keys) {
    const bytes = await backend.get(key, null, signal);
    // In the first record's payload, behind pack header (32), record header (64) and a frame table of at most 64.
    for (let at = 200; at < bytes.length - 200; at += 1000) bytes[at]! ^= 0x40;
    await backend.put(key, bytes, signal);
  }
}
