import type { Backend } from '@openservice/pools';

/** Deletes the manifests of a block. */
export async function loseManifest(backend: Backend, blockId: string, signal: AbortSignal): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of backend.list(`blocks/${blockId}/`, signal)) if (key.endsWith('/manifest')) keys.push(key);
  if (keys.length === 0) throw new Error(`block ${blockId} has no manifest`);
  for (const key of keys) await backend.remove(key, signal);
}

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
