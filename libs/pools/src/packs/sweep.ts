/**
 * Removing what attempts left of a block: its records and manifests. Packs and shared segments are never removed here, whoever wrote
 * them: others may rely on them, and only the pool's collection can tell. Only what carries a fence up to the given one is touched: a
 * newer attempt's objects are out of reach. A sweep that was cut off is simply done again.
 */
import type { Backend } from '../backend.ts';
import { blockPrefix, fenceOf, sessionPrefix } from './keys.ts';
import { sideBySide } from './side-by-side.ts';

/** Removes session records of fences up to `fence`. */
export async function sweepSessions(backend: Backend, blockId: string, fence: number, signal: AbortSignal): Promise<void> {
  await sideBySide(backend.list(sessionPrefix(blockId), signal), async ({ key }) => {
    if ((fenceOf(key) ?? Number.POSITIVE_INFINITY) <= fence) await backend.remove(key, signal);
  });
}

/** Removes manifests and private segments of fences up to `fence`. */
export async function sweepAttempts(backend: Backend, blockId: string, fence: number, signal: AbortSignal): Promise<void> {
  await sideBySide(backend.list(blockPrefix(blockId), signal), async ({ key }) => {
    if ((fenceOf(key) ?? Number.POSITIVE_INFINITY) <= fence) await backend.remove(key, signal);
  });
}

/** Removes all of the block up to `fence`, the ledger excepted. */
export async function sweepBlock(backend: Backend, blockId: string, fence: number, signal: AbortSignal): Promise<void> {
  await sweepAttempts(backend, blockId, fence, signal);
  await sweepSessions(backend, blockId, fence, signal);
}
