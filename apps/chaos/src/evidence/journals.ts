/** What a node that has stopped still holds in its journal. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

export interface JournalEvidence {
  node: string;
  /** Attempts that have not ended. */
  unfinished: { job_id: string; attempt: number; kind: string; state: string }[];
  /** Events that no center has taken. */
  unsent: { job_id: string; attempt: number; seq: number; type: string }[];
}

export function readJournal(node: string, dataDir: string): JournalEvidence {
  const path = join(dataDir, 'journal.db');
  if (!existsSync(path)) throw new Error(`${node} has no journal at ${path}.`);
  const database = new DatabaseSync(path);
  try {
    return {
      node,
      unfinished: database
        .prepare("SELECT job_id, attempt, kind, state FROM attempts WHERE state <> 'finished'")
        .all() as unknown as JournalEvidence['unfinished'],
      unsent: database.prepare('SELECT job_id, attempt, seq, type FROM outbox').all() as unknown as JournalEvidence['unsent'],
    };
  } finally {
    database.close();
  }
}
