/** What a job's checkpoint holds in the node's journal: read back after a crash, so nothing in it is taken on trust. */
import { z } from 'zod';

const state = z.object({
  /** The attempt that wrote this. */
  attempt: z.number().int().positive().default(1),
  /** Bytes sent by all runs of that attempt up to this checkpoint. */
  bytes_sent: z.number().nonnegative().default(0),
  /** Import: what the source was when its first chunk was read; only who opens sources knows its form. */
  source: z.unknown().default(null),
  /** Restore to a file, device or server: where it stands; only who opens targets knows its form. */
  target: z.unknown().default(null),
  /** Hex: all is put and checked under this root; only the commit is left. The source need not be asked again. */
  prepared: z.string().nullable().default(null),
  /** What the source had to say of itself, kept for the result. */
  notes: z.array(z.string()).default([]),
  /** Move: the target was committed and read back in full. */
  read_back: z.boolean().default(false),
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
