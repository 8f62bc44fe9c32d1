/** What a source's extents mean: every chunk of the block comes exactly once, in order. */
import { chunkCount } from '@openservice/domain';
import type { ChunkSource } from '@openservice/pools';

export type Step = { kind: 'hole'; first: number; count: number } | { kind: 'chunk'; index: number };
type RangeStep = { kind: 'hole'; first: number; count: number } | { kind: 'data'; first: number; count: number };

export async function* plan(source: ChunkSource, signal: AbortSignal): AsyncGenerator<Step> {
  for await (const { kind, first, count } of stepsOf(source, signal)) {
    if (kind === 'hole') yield { kind, first, count };
    else for (let index = first; index < first + count; index++) yield { kind: 'chunk', index };
  }
}

/** By ranges. */
export async function* stepsOf(source: ChunkSource, signal: AbortSignal): AsyncGenerator<RangeStep> {
  const total = chunkCount(source.size, source.chunkSize);
  let next = 0;
  for await (const range of source.extents(0, signal)) {
    const first = Math.max(range.first, next);
    const end = Math.min(range.first + range.count, total);
    if (end <= first) continue;
    if (first > next) yield { kind: 'hole', first: next, count: first - next };
    yield { kind: 'data', first, count: end - first };
    next = end;
  }
  if (next < total) yield { kind: 'hole', first: next, count: total - next };
}

/** Bytes that `count` chunks from `first` on cover. */
export function bytesOf(source: { size: number; chunkSize: number }, first: number, count: number): number {
  return Math.min((first + count) * source.chunkSize, source.size) - first * source.chunkSize;
}
