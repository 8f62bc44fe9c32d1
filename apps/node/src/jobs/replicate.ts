/**
 * One replica is made: the glue that all kinds that write a block share. The order is
 *   transfer → preparing → prepared → last checks → journal "prepared" → leave to commit → lease → commit → result.
 * After a crash the same attempt runs all of it again. Each step is then a no-op where it was done: chunks that the target has are
 * passed over, prepare, leave and commit answer as they did. Once "prepared" is journalled the source is not opened again, for
 * it may rightly be gone by then.
 */
import type { JobContext } from '@openservice/agent';
import { chunkCount, PermanentError } from '@openservice/domain';
import type { BlockWriter, ChunkSource, Prepared } from '@openservice/pools';
import type { JobResult, Progress } from '@openservice/protocol';
import { failpoint } from '@openservice/runtime';
import { type ByteLimit, type TransferCounters, transfer } from '@openservice/transfer';
import { type JournalState, readJournalState, sentBefore } from './journal-state.ts';
import { ProgressMeter } from './progress-meter.ts';
import { notesOf } from './results.ts';

/** Bytes in flight in each job: several jobs run at once in a node of bounded memory. */
const JOB_WINDOW_BYTES = 8 * 1024 * 1024;

/** Chunks in flight. */
export const windowFor = (chunkSize: number): number => Math.max(1, Math.floor(JOB_WINDOW_BYTES / chunkSize));

export interface ReplicateOptions<Source extends ChunkSource> {
  context: JobContext<object>;
  /** Closed by `replicate`. */
  writer: BlockWriter;
  /** All of it stands in the target: committed by an earlier run or attempt of this job, or a clone. Nothing is read. */
  whole?: boolean;
  block: { id: string; size: number; chunkSize: number };
  /** Opened only if something is left to copy; closed by `replicate`. */
  openSource: () => Promise<Source>;
  /** What the copy must turn out to be; null for an import, which finds out. */
  expectedRoot: Buffer | null;
  /** Added to each checkpoint; asked right after the writer's own checkpoint. */
  state?: () => Partial<JournalState>;
  /** After the transfer, before leave to commit is asked. */
  lastChecks?: (source: Source) => Promise<void>;
  /** What a person should know of the source, at the end of the transfer; sentences. */
  notes?: (source: Source) => string[];
  /** That all transfers of the node share. */
  limits: readonly ByteLimit[];
  /** The pool of the new replica; null when a plain file is written, which is no replica. */
  poolId: string | null;
}

export async function replicate<Source extends ChunkSource>(options: ReplicateOptions<Source>): Promise<JobResult> {
  const { context, writer } = options;
  try {
    const journal = readJournalState(context.lastCheckpoint);
    const { prepared, progress, notes } = (await preparedBefore(options, journal)) ?? (await copy(options, journal));
    const result: JobResult = {
      root_digest: prepared.rootDigest.toString('hex'),
      size: options.block.size,
      replicas:
        options.poolId === null ? [] : [{ pool_id: options.poolId, state: 'available', stored_bytes: prepared.storedBytes }],
      verified: false,
      progress,
      damage: [],
      ...notesOf(notes),
    };
    await context.requestCommit(result);
    context.assertLease();
    await writer.commit(context.signal);
    return result;
  } finally {
    await writer.close();
  }
}

type Done = Pick<ReplicateOptions<ChunkSource>, 'context' | 'writer' | 'block' | 'whole' | 'expectedRoot'>;

interface Outcome {
  prepared: Prepared;
  progress: Progress;
  notes: string[];
}

/** An earlier run got as far as "prepared" or further, and the target still holds all of it; else null. */
async function preparedBefore(options: Done, journal: JournalState): Promise<Outcome | null> {
  const { context, writer, block, whole, expectedRoot } = options;
  if (journal.prepared === null && whole !== true) return null;
  for (let index = chunkCount(block.size, block.chunkSize) - 1; index >= 0; index--) if (!writer.has(index)) return null;
  await context.preparing();
  const prepared = await writer.prepare(context.signal);
  const root = prepared.rootDigest.toString('hex');
  if (journal.prepared !== null && root !== journal.prepared) return null;
  if (expectedRoot !== null && !prepared.rootDigest.equals(expectedRoot)) return null;
  return {
    prepared,
    progress: wholly(block.size, sentBefore(journal, context.attempt, writer.bytesKept ?? 0) + writer.bytesSent),
    notes: journal.notes,
  };
}

async function copy<Source extends ChunkSource>(options: ReplicateOptions<Source>, journal: JournalState): Promise<Outcome> {
  const { context, writer } = options;
  const before = sentBefore(journal, context.attempt, writer.bytesKept ?? 0);
  const meter = new ProgressMeter(before);
  const save = (counters: Pick<TransferCounters, 'bytesSent'>, more: Partial<JournalState> = {}) =>
    context.checkpoint({
      ...journal,
      prepared: null,
      read_back: false,
      notes: [],
      ...options.state?.(),
      attempt: context.attempt,
      bytes_sent: before + counters.bytesSent,
      ...more,
    });
  const source = await options.openSource();
  try {
    // Before the first byte: what a later run must know to go on with what this one leaves.
    if (options.state !== undefined) await save({ bytesSent: writer.bytesSent });
    const { counters, ...prepared } = await transfer({
      source,
      writer,
      signal: context.signal,
      window: windowFor(options.block.chunkSize),
      bandwidth: bandwidthOf(context.params),
      limits: options.limits,
      beforeChunk: () => failpoint('node.copying', context.jobId),
      onProgress: (now) => context.progress(meter.read(now)),
      onCheckpoint: (now) => save(now),
      onPreparing: () => context.preparing(),
    });
    context.progress(meter.read(counters));
    if (options.expectedRoot !== null && !options.expectedRoot.equals(prepared.rootDigest)) {
      await writer.abort(context.signal);
      throw new PermanentError(
        'digest_mismatch',
        `The copy of ${options.block.id} came out with digest ${prepared.rootDigest.toString('hex')} instead of ${options.expectedRoot.toString('hex')}; it was dropped. Verify the source replica.`,
      );
    }
    await options.lastChecks?.(source);
    const notes = options.notes?.(source) ?? [];
    await save(counters, { prepared: prepared.rootDigest.toString('hex'), notes });
    return { prepared, progress: meter.read(counters), notes };
  } finally {
    await source.close();
  }
}

function wholly(size: number, sent: number): Progress {
  return { bytes_total: size, bytes_done: size, bytes_sent: sent, bytes_skipped: size, rate: 0, eta_ms: 0 };
}

/** `bandwidth`, bytes a second, may stand in the parameters of any kind. */
export function bandwidthOf(params: object): number | null {
  const { bandwidth } = params as { bandwidth?: unknown };
  return typeof bandwidth === 'number' && bandwidth > 0 ? bandwidth : null;
}
