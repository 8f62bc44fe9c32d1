import type { AppDeps } from '../http/deps.ts';
import { type App, actions, endpoint } from '../http/endpoint.ts';
import { deleteDeadLetter, listDeadLetters, redriveDeadLetter } from '../services/dead-letters.ts';
import * as schema from './schemas/dead-letters.ts';

const tag = 'dead letters';

export function deadLetterRoutes(app: App, deps: AppDeps): void {
  endpoint(
    app,
    {
      method: 'get',
      path: '/dead_letters',
      tag,
      summary: 'List messages of nodes that no center could use',
      query: schema.listDeadLettersQuery,
      answers: { 200: schema.deadLettersAnswer },
    },
    ({ query }) => listDeadLetters(deps.database, query),
  );
  endpoint(
    app,
    {
      method: 'delete',
      path: '/dead_letters/{dead_letter_id}',
      id: 'dead_letter',
      tag,
      summary: 'Drop a dead letter',
      answers: { 200: schema.deadLetterDeleted },
    },
    ({ id, caller }) => deleteDeadLetter(deps, id, caller),
  );
  actions(
    app,
    {
      path: '/dead_letters/{dead_letter_id}',
      id: 'dead_letter',
      tag,
      summary: 'Redrive a dead letter: take it as if it had come again',
      answers: { 200: schema.deadLetterRedriven },
    },
    { redrive: { handle: ({ id, caller }) => redriveDeadLetter(deps, id, caller) } },
  );
}
