import { z } from '@hono/zod-openapi';
import { flag, time } from './fields.ts';
import { listQuery, nextMarker } from './lists.ts';

const id = z.string().regex(/^[1-9][0-9]{0,15}$/, 'must be the id of a dead letter: a number');

export const listDeadLettersQuery = listQuery(id, {
  redriven: flag.optional().openapi({ description: 'Only those that were redriven and taken, or only the others.' }),
}).extend({ sort: z.enum(['id', '-id']).default('id') });

const outcome = z.enum(['applied', 'recorded', 'duplicate', 'refused']);

export const deadLetterView = z
  .object({
    id: z.string(),
    subject: z.string(),
    reason: z.string().openapi({ description: 'Why no center could use it.' }),
    body: z.string().openapi({ description: 'What came; bytes that are no UTF-8 are shown as �.' }),
    redriven_at: time.nullable(),
    outcome: outcome.nullable().openapi({ description: 'What became of it then.' }),
    created_at: time,
  })
  .openapi('DeadLetter');

export const deadLettersAnswer = z.object({ dead_letters: z.array(deadLetterView), next_marker: nextMarker });
export const deadLetterRedriven = z.object({
  dead_letter: deadLetterView,
  outcome: outcome.openapi({
    description:
      'applied: it has changed its job. recorded: its job has gone on without it. duplicate: it had been taken already. refused: as before, `reason` says why.',
  }),
});
export const deadLetterDeleted = z.object({ 'dead-letter-id': z.string() });
