/** Messages that no center can use, kept where people can see them, and give them to the ingest again. */
import { PermanentError } from '@openservice/domain';
import type { DataSource, EntityManager } from '@openservice/store';
import { NOW } from '../jobs/clock.ts';
import { applyEvent, type EventOutcome } from './apply-event.ts';
import { parseEvent } from './parse-event.ts';

const MAX_BODY = 1_000_000;
const MAX_REASON = 2000;

export async function bury(database: DataSource, subject: string, reason: string, body: Uint8Array): Promise<void> {
  const text = Buffer.from(body.subarray(0, MAX_BODY)).toString('utf8');
  await database.query(`INSERT INTO dead_letters (subject, reason, body, at) VALUES (?, ?, ?, ${NOW})`, [
    subject.slice(0, 255),
    reason.slice(0, MAX_REASON),
    text,
  ]);
}

export interface Redriven {
  outcome: EventOutcome | 'refused';
  /** Why it is refused, as it was before. */
  reason: string | null;
}

/** As if the message had come again; the letter stays and remembers what became of it. Repeated: the inbox has it. Null: there is no such letter. */
export async function redrive(manager: EntityManager, id: number): Promise<Redriven | null> {
  const [letter] = await manager.query<{ subject: string; body: string }[]>(
    'SELECT subject, body FROM dead_letters WHERE id = ? FOR UPDATE',
    [id],
  );
  if (letter === undefined) return null;
  const became = await take(manager, letter);
  await manager.query(`UPDATE dead_letters SET redriven_at = ${NOW}, outcome = ?, reason = COALESCE(?, reason) WHERE id = ?`, [
    became.outcome,
    became.reason?.slice(0, MAX_REASON) ?? null,
    id,
  ]);
  return became;
}

async function take(manager: EntityManager, letter: { subject: string; body: string }): Promise<Redriven> {
  const event = parseEvent(letter.subject, Buffer.from(letter.body));
  if (typeof event === 'string') return { outcome: 'refused', reason: event };
  try {
    return { outcome: await applyEvent(manager, event), reason: null };
  } catch (error) {
    // Thrown before anything was written.
    if (error instanceof PermanentError && error.code === 'wrong_node') return { outcome: 'refused', reason: error.message };
    throw error;
  }
}
