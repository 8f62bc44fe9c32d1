/**
 * Looks ahead of the copy where the source knows digests without reading: many at a time, and the next many while the lanes work on these, so
 * that a target far away is asked once for hundreds of chunks. What it learns is a hint: a chunk may come or go meanwhile.
 */
import type { BlockWriter } from '@openservice/pools';
import { type Step, stepsOf } from './plan.ts';
import type { TransferSource } from './port.ts';

/** Chunks in a look. */
const LOOK = 256;

export interface KnownStep {
  kind: 'chunk';
  index: number;
  /** Null where it is not known without reading. */
  digest: Buffer | null;
  /** False: the target has such a chunk. */
  missing: boolean;
}
export type AheadStep = Extract<Step, { kind: 'hole' }> | { kind: 'done'; index: number } | KnownStep;

export async function* ahead(source: TransferSource, writer: BlockWriter, signal: AbortSignal): AsyncGenerator<AheadStep> {
  const batches = inBatches(source, writer, signal);
  const look = async () => {
    const { done, value } = await batches.next();
    return done === true ? null : annotate(value, source, writer, signal);
  };
  let next = look();
  try {
    for (let steps = await next; steps !== null; steps = await next) {
      next = look();
      // It is awaited in its turn; until then it must not count as unhandled.
      next.catch(() => {});
      yield* steps;
    }
  } finally {
    await next.catch(() => {});
  }
}

/** Steps in order, at most LOOK chunks together; what the target has from before is marked as done. */
async function* inBatches(source: TransferSource, writer: BlockWriter, signal: AbortSignal): AsyncGenerator<AheadStep[]> {
  let batch: AheadStep[] = [];
  let chunks = 0;
  for await (const range of stepsOf(source, signal)) {
    if (range.kind === 'hole') {
      batch.push(range);
    } else {
      for (let index = range.first; index < range.first + range.count; index++) {
        if (writer.has(index)) batch.push({ kind: 'done', index });
        else {
          batch.push({ kind: 'chunk', index, digest: null, missing: true });
          chunks++;
        }
        if (chunks < LOOK && batch.length < 4 * LOOK) continue;
        yield batch;
        batch = [];
        chunks = 0;
      }
    }
  }
  if (batch.length > 0) yield batch;
}

async function annotate(
  steps: AheadStep[],
  source: TransferSource,
  writer: BlockWriter,
  signal: AbortSignal,
): Promise<AheadStep[]> {
  if (source.knownDigest === undefined) return steps;
  const chunks = steps.filter((step) => step.kind === 'chunk');
  const digests = await Promise.all(chunks.map(({ index }) => source.knownDigest?.(index, signal) ?? null));
  const told = chunks.flatMap((step, i) => {
    step.digest = digests[i] ?? null;
    return step.digest === null ? [] : [{ step, digest: step.digest }];
  });
  // A restored file compares chunk by chunk instead (`holds`).
  if (told.length === 0 || writer.holds !== undefined) return steps;
  const missing = await writer.missing(told.map(({ digest }) => digest));
  for (const [i, { step }] of told.entries()) step.missing = missing[i] ?? true;
  return steps;
}
