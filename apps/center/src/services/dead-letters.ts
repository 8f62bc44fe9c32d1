/** Messages of nodes that no center could use: looking at them, trying them again, dropping them. */
import { type DataSource, type DeadLetter, DeadLetterSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { redrive as driveAgain } from '../ingest/dead-letters.ts';
import { audit } from '../jobs/submit-job.ts';
import { type Answer, decide } from './answers.ts';
import type { Caller } from './caller.ts';
import { notFound } from './refusal.ts';

export interface DeadLetterPage {
  limit: number;
  marker?: string | undefined;
  sort: 'id' | '-id';
  /** True: those alone that were redriven and taken; false: all others. */
  redriven?: boolean | undefined;
}

const TAKEN = "(t.outcome IS NOT NULL AND t.outcome <> 'refused')";

export async function listDeadLetters(database: DataSource, request: DeadLetterPage): Promise<Answer> {
  const query = database.getRepository(DeadLetterSchema).createQueryBuilder('t').where('1 = 1');
  if (request.redriven !== undefined) query.andWhere(request.redriven ? TAKEN : `NOT ${TAKEN}`);
  const descending = request.sort === '-id';
  if (request.marker !== undefined) query.andWhere(`t.id ${descending ? '<' : '>'} :marker`, { marker: Number(request.marker) });
  const rows = await query
    .orderBy('t.id', descending ? 'DESC' : 'ASC')
    .limit(request.limit + 1)
    .getMany();
  const shown = rows.slice(0, request.limit);
  const next_marker = rows.length > request.limit ? String(shown.at(-1)?.id) : null;
  return { status: 200, body: { dead_letters: shown.map(deadLetterView), next_marker } };
}

/** `outcome` says what became of it: `applied`, `recorded` (too late to change anything), `duplicate` (known already), `refused` (as before). */
export async function redriveDeadLetter(deps: AppDeps, id: string, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const became = await driveAgain(manager, Number(id));
    const letter = await manager.findOneBy(DeadLetterSchema, { id: Number(id) });
    if (became === null || letter === null) throw notFound('dead_letter', id);
    await audit(manager, caller.tokenId, 'dead_letter.redrive', id, { outcome: became.outcome });
    return { status: 200, body: { dead_letter: deadLetterView(letter), outcome: became.outcome } };
  });
  deps.relay.poke();
  return answer;
}

export function deleteDeadLetter(deps: AppDeps, id: string, caller: Caller): Promise<Answer> {
  return decide(deps.database, async (manager) => {
    const { affected } = await manager.delete(DeadLetterSchema, { id: Number(id) });
    if (affected !== 1) throw notFound('dead_letter', id);
    await audit(manager, caller.tokenId, 'dead_letter.delete', id, {});
    return { status: 200, body: { 'dead-letter-id': id } };
  });
}

function deadLetterView(letter: DeadLetter) {
  return {
    id: String(letter.id),
    subject: letter.subject,
    reason: letter.reason,
    body: letter.body,
    redriven_at: letter.redriven_at?.toISOString() ?? null,
    outcome: letter.outcome,
    created_at: letter.at.toISOString(),
  };
}
