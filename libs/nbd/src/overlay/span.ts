/** Runs of blocks as bytes. */
import { BLOCK_BYTES, type BlockRun } from './block-map.ts';

/** The run's bytes as offset and length. */
export function span(run: BlockRun, size: number): [number, number] {
  const offset = run.first * BLOCK_BYTES;
  return [offset, Math.min(run.count * BLOCK_BYTES, size - offset)];
}

/** The run's bytes between `offset` and `end`: first, and past the last. */
export function inside(run: BlockRun, offset: number, end: number): [number, number] {
  return [Math.max(offset, run.first * BLOCK_BYTES), Math.min(end, (run.first + run.count) * BLOCK_BYTES)];
}
