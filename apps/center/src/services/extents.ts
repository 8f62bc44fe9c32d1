/** Lists of changed extents that clients send, brought into the form that a job is told: ascending, apart, and few enough for one message. */
import type { Extent } from '../routes/schemas/create-block.ts';
import { invalidRequest } from './refusal.ts';

/** A command must fit into one NATS message of 1 MiB; an extent takes 45 bytes at most. */
export const MOST_EXTENTS = 20_000;

/** Sorted, joined where they touch; where there are more than `most`, the closest are joined over what lies between them, which is then read too. */
export function normalExtents(extents: readonly Extent[], size: number, most: number = MOST_EXTENTS): Extent[] {
  const past = extents.findIndex(({ offset, length }) => offset + length > size);
  if (past !== -1) {
    throw invalidRequest([
      { path: `changed_extents.${past}`, message: `ends past the end of the source, which has ${size} bytes` },
    ]);
  }
  const apart: Extent[] = [];
  for (const extent of extents.toSorted((a, b) => a.offset - b.offset)) {
    const last = apart.at(-1);
    if (last === undefined || extent.offset > endOf(last)) apart.push({ ...extent });
    else reach(last, extent);
  }
  return apart.length <= most ? apart : joinClosest(apart, apart.length - most);
}

/** `count` fewer, joined over the smallest gaps. */
function joinClosest(apart: readonly Extent[], count: number): Extent[] {
  const gapBefore = (i: number): number => apart[i]!.offset - endOf(apart[i - 1]!);
  const closest = apart
    .map((_, i) => i)
    .slice(1)
    .sort((a, b) => gapBefore(a) - gapBefore(b));
  const joined = new Set(closest.slice(0, count));
  const out: Extent[] = [];
  for (const [i, extent] of apart.entries()) {
    if (joined.has(i)) reach(out.at(-1)!, extent);
    else out.push({ ...extent });
  }
  return out;
}

const endOf = (extent: Extent): number => extent.offset + extent.length;

function reach(extent: Extent, next: Extent): void {
  extent.length = Math.max(endOf(extent), endOf(next)) - extent.offset;
}
