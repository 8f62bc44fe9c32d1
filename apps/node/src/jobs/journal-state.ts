/** What a job's checkpoint holds in the node's journal: read back after a crash, so nothing in it is taken on trust. */
import { z } from 'zod';

const fileIdentity = z.object({
  dev: z.string(),
  ino: z.string(),
  size: z.number(),
  mtime_ns: z.string().nullable(),
  ctime_ns: z.string().nullable(),
});

const state = z.object({
  /** The attempt that wrote this. */
  attempt: z.number().int().positive().default(1),
  /** Bytes sent by all runs of that attempt up to this checkpoint. */
  bytes_sent: z.number().nonnegative().default(0),
  /** Import: the file as it was when its first chunk was read. */
  source: fileIdentity.nullable().default(null),
  /** Restore to a file: the part file. */
  file: z.object({ dev: z.string(), ino: z.string(), chunks: z.number().int().nonnegative() }).nullable().default(null),
  /** Hex: all is put and checked under this root; only the commit is left. The source need not be asked again. */
  prepared: z.string().nullable().default(null),
});
export type JournalState = z.infer<typeof state>;

/**
 * Bytes that earlier runs of this attempt have sent. What the target holds durably beyond the last checkpoint was sent, too. Bytes of earlier
 * attempts are the center's to add.
 */
export function sentBefore(journal: JournalState, attempt: number, bytesKept: number): number {
  if (attempt > 1) return journal.attempt === attempt ? journal.bytes_sent : 0;
  return Math.max(journal.bytes_sent, bytesKept);
}

/** `last`: JobContext.lastCheckpoint. Null, or what an unknown version wrote, is as if nothing was checkpointed. */
export function readJournalState(last: unknown): JournalState {
  const parsed = state.safeParse(last);
  return parsed.success ? parsed.data : state.parse({});
}
