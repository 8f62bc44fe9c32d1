/** What an overlay is made of again, and what says that something of it is missing. */
import { stat } from 'node:fs/promises';
import { asOpenServiceError, PermanentError } from '@openservice/domain';
import { type BlockMap, STATE } from './block-map.ts';
import type { DataFile } from './data-file.ts';
import type { MapChange } from './journal-format.ts';
import type { PartialBlocks } from './partial-blocks.ts';
import { span } from './span.ts';

export function replay(map: BlockMap, partial: PartialBlocks, { state, first, count, from, to }: MapChange): void {
  if (first + count > map.blocks)
    throw new PermanentError('damaged_overlay', 'The journal of the overlay names blocks past its end.');
  if (state !== STATE.partial) {
    map.set(first, count, state);
    partial.delete(first, count);
  } else map.set(first, 1, partial.add(first, from, to) ? STATE.data : STATE.partial);
}

export function damaged(directory: string, words: string): PermanentError {
  return new PermanentError('damaged_overlay', `The overlay in ${directory} is damaged: ${words}.`);
}

export function holdsData(map: BlockMap): boolean {
  for (const { state } of map.touched()) if (state !== STATE.zero) return true;
  return false;
}

/** Null: there is no such file. */
export async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw asOpenServiceError(error);
  }
}

/** Where blocks are zeros, the data file may hold bytes of writes that were lost with their changes of the map. */
export async function zeroAgain(data: DataFile, map: BlockMap, size: number): Promise<void> {
  let count = 0;
  for (const run of map.touched()) {
    if (run.state !== STATE.zero) continue;
    await data.zero(...span(run, size));
    if (++count % 256 === 0) await new Promise(setImmediate);
  }
}
