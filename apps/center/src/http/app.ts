/** The center's HTTP side, put together: what is open, what needs a token, and how an error leaves. */
import { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { accessKeyRoutes } from '../routes/access-keys.ts';
import { anomalyRoutes } from '../routes/anomalies.ts';
import { blockRoutes } from '../routes/blocks.ts';
import { cdmInstanceRoutes } from '../routes/cdm-instances.ts';
import { deadLetterRoutes } from '../routes/dead-letters.ts';
import { eventRoutes } from '../routes/events.ts';
import { jobRoutes } from '../routes/jobs.ts';
import { nodeRoutes } from '../routes/nodes.ts';
import { poolRoutes } from '../routes/pools.ts';
import { setRoutes } from '../routes/sets.ts';
import { webhookRoutes } from '../routes/webhooks.ts';
import { Refusal } from '../services/refusal.ts';
import { authenticate, roleByMethod } from './auth.ts';
import { board } from './board.ts';
import type { AppDeps, AppEnv } from './deps.ts';
import { docsPage } from './docs-page.ts';
import type { App } from './endpoint.ts';
import { idempotency } from './idempotency.ts';
import { metricsText } from './metrics.ts';
import { openApiDocument } from './openapi.ts';
import { sendProblem, toProblem } from './problem.ts';
import { exceptContent, identify, jsonBody, limitBody, limitReads, noStore } from './request.ts';

export const BASE_PATH = '/openstore_v1';

/** `close` lets go of the board's connection to Redis; everything else belongs to the caller. */
export type CenterApp = App & { close(): Promise<void> };

export function makeApp(deps: AppDeps): CenterApp {
  const app: App = new OpenAPIHono<AppEnv>();
  app.onError((error, c) => answerError(deps, error, c));
  app.notFound((c) => sendProblem(c, toProblem(unknownPath(api, c))));
  app.use(identify, exceptContent(limitBody));

  const api: App = new OpenAPIHono<AppEnv>();
  api.use(noStore, authenticate(deps), roleByMethod, exceptContent(jsonBody), limitReads, exceptContent(idempotency(deps)));
  poolRoutes(api, deps);
  setRoutes(api, deps);
  blockRoutes(api, deps);
  cdmInstanceRoutes(api, deps);
  jobRoutes(api, deps);
  eventRoutes(api, deps);
  nodeRoutes(api, deps);
  accessKeyRoutes(api, deps);
  deadLetterRoutes(api, deps);
  webhookRoutes(api, deps);
  anomalyRoutes(api, deps);
  app.route(BASE_PATH, api);

  health(app, deps);
  const document = openApiDocument(app, deps.version);
  app.get('/openapi.json', (c) => c.json(document));
  docsPage(app);
  const { close } = bindClose(board(app, deps));
  return Object.assign(app, { close });
}

function bindClose(closing: { close(): Promise<void> }): { close(): Promise<void> } {
  return { close: () => closing.close() };
}

function health(app: App, deps: AppDeps): void {
  app.get('/healthz', noStore, (c) => c.json({ status: 'ok', version: deps.version }));
  app.get('/readyz', noStore, (c) => {
    const parts = deps.ready();
    // Redis carries nothing for the center: without it only the board is blind.
    const ready = parts.mysql && parts.nats;
    return c.json({ status: ready ? 'ready' : 'not_ready', ...parts }, ready ? 200 : 503);
  });
  app.get('/metrics', noStore, async (c) =>
    c.body(await metricsText(deps.database), 200, { 'Content-Type': 'text/plain; version=0.0.4; charset=utf-8' }),
  );
}

/** 405 where the path is known by another method. */
function unknownPath(api: App, c: Context): Refusal {
  const path = c.req.path.startsWith(`${BASE_PATH}/`) ? c.req.path.slice(BASE_PATH.length) : null;
  const known = path !== null && api.routes.some((route) => route.method !== 'ALL' && matches(route.path, path));
  if (known) return new Refusal('method_not_allowed', `${c.req.method} is not a method of ${c.req.path}; see /docs.`);
  return new Refusal('not_found', 'There is no such path; see /docs for those there are.');
}

function matches(pattern: string, path: string): boolean {
  const parts = pattern.split('/');
  const given = path.split('/');
  return (
    parts.length === given.length && parts.every((part, i) => part === given[i] || (part.startsWith(':') && given[i] !== ''))
  );
}

function answerError(deps: AppDeps, error: Error, c: Context<AppEnv>): Response {
  const problem = toProblem(error);
  if (problem.status >= 500) {
    const fields = { request_id: c.get('requestId'), method: c.req.method, path: c.req.path, code: problem.code, err: error };
    if (problem.status === 503) deps.log.warn(fields, 'a request could not be answered');
    else deps.log.error(fields, 'a request failed unexpectedly');
  }
  return sendProblem(c, problem);
}
