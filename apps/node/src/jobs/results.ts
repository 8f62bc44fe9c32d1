/** What results of jobs have in common. */
import type { JobResult } from '@openservice/protocol';

/** Of `JobResult.damage`. */
export const MAX_DAMAGE = 100;
const MAX_NOTES = 20;
const MAX_NOTE = 500;
const MAX_MESSAGE = 2000;

/** `notes` as a result takes them: a few, and not too long. Nothing where there are none. */
export function notesOf(notes: readonly string[]): Pick<JobResult, 'notes'> {
  if (notes.length === 0) return {};
  const kept =
    notes.length > MAX_NOTES ? [...notes.slice(0, MAX_NOTES - 1), `… and ${notes.length - MAX_NOTES + 1} more.`] : notes;
  return { notes: kept.map((note) => note.slice(0, MAX_NOTE)) };
}

/** `damage` as a result takes it: the first 100. */
export function damageOf(damage: JobResult['damage']): JobResult['damage'] {
  return damage.slice(0, MAX_DAMAGE).map((one) => ({ ...one, message: one.message.slice(0, MAX_MESSAGE) }));
}

/** A result that tells of no block's content. */
export function plainResult(more: Partial<JobResult>): JobResult {
  return { root_digest: null, size: null, replicas: [], verified: false, progress: null, damage: [], ...more };
}
