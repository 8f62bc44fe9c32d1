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
  const sorted = extents.toSorted((a, b) => a.offset - b.offset);
  const apart = joined(sorted, 0);
  if (apart.length <= most) return apart;
  const gaps = apart.slice(1).map((extent, i) => extent.offset - endOf(apart[i]!));
  const bound = gaps.toSorted((a, b) => a - b)[apart.length - most - 1]!;
  return joined(apart, bound);
}

const endOf = (extent: Extent): number => extent.offset + extent.length;

function joined(sorted: readonly Extent[], gap: number): Extent[] {
  const out: Extent[] = [];
  for (const extent of sorted) {
    const last = out.at(-1);
    if (last === undefined || extent.offset > endOf(last) + gap) out.push({ ...extent });
    else last.length = Math.max(endOf(last), endOf(extent)) - last.offset;
  }
  return out;
}
