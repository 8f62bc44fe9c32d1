import type { AppDeps } from '../http/deps.ts';
import { type App, action, actions, endpoint } from '../http/endpoint.ts';
import { compareNow, dismissAnomaly, listAnomalies } from '../services/anomalies.ts';
import * as schema from './schemas/anomalies.ts';

const tag = 'anomalies';

export function anomalyRoutes(app: App, deps: AppDeps): void {
  endpoint(
    app,
    {
      method: 'get',
      path: '/anomalies',
      tag,
      summary: 'List what center, nodes and pools disagree about, and what a person can do; what has healed is not listed',
      query: schema.listAnomaliesQuery,
      answers: { 200: schema.anomaliesAnswer },
    },
    ({ query }) => listAnomalies(deps, query),
  );
  endpoint(
    app,
    {
      method: 'delete',
      path: '/anomalies/{anomaly_id}',
      id: 'anomaly',
      tag,
      summary: 'Dismiss an anomaly: it is not listed until it has healed and comes again',
      answers: { 200: schema.anomalyDismissed },
    },
    ({ id, caller }) => dismissAnomaly(deps, id, caller),
  );
  actions(
    app,
    {
      path: '/anomalies',
      tag,
      summary: 'Compare pools with what the center believes of them, soon',
      answers: { 200: schema.compareAsked },
    },
    { compare: action(schema.compareBody, ({ body, caller }) => compareNow(deps, body.pool_id, caller)) },
  );
}
