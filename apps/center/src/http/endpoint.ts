/**
 * One way to declare an endpoint: its schemas validate the request and make the OpenAPI document; the handler gets parsed
 * input and answers with what its use case answered. An id of the wrong form in a path is as unknown as any other: 404.
 */
import { type OpenAPIHono, z } from '@hono/zod-openapi';
import { isId, isNodeId } from '@openservice/domain';
import type { Context } from 'hono';
import type { Answer } from '../services/answers.ts';
import type { Caller, Role } from '../services/caller.ts';
import { type FieldError, invalidRequest, notFound } from '../services/refusal.ts';
import { requireRole } from './auth.ts';
import type { AppEnv } from './deps.ts';
import { readJson } from './request.ts';

export type App = OpenAPIHono<AppEnv>;
type ResourceKind =
  | 'pool'
  | 'set'
  | 'block'
  | 'cdm_instance'
  | 'job'
  | 'node'
  | 'access_key'
  | 'webhook'
  | 'anomaly'
  | 'dead_letter';

interface Common {
  path: string;
  summary: string;
  tag: string;
  /** What the id in the path names; the parameter is `<kind>_id`, of a cdm_instance `ins_id`. */
  id?: ResourceKind;
  role?: Role;
}

interface EndpointSpec<Query extends z.ZodType, Body extends z.ZodType> extends Common {
  method: 'get' | 'put' | 'post' | 'delete';
  query?: Query;
  body?: Body;
  answers: Partial<Record<200 | 201 | 202, z.ZodType>>;
}

export interface Input<Query, Body> {
  /** '' where the path has no id. */
  id: string;
  query: Query;
  body: Body;
  caller: Caller;
}

export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string().openapi({ description: 'Stable; decide by it.' }),
    detail: z.string(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
    job_id: z.string().optional(),
    instance_id: z.string().optional(),
  })
  .openapi('Problem');

const noQuery = z.strictObject({});

function fieldErrors(error: z.ZodError, prefix: string): FieldError[] {
  return error.issues.slice(0, 50).flatMap((issue) => {
    const base = [prefix, ...issue.path.map(String)].filter((part) => part !== '').join('.');
    if (issue.code !== 'unrecognized_keys') return [{ path: base, message: issue.message }];
    return issue.keys
      .slice(0, 20)
      .map((key) => ({ path: base === '' ? key.slice(0, 64) : `${base}.${key.slice(0, 64)}`, message: 'unknown field' }));
  });
}

export function check<Schema extends z.ZodType>(schema: Schema, value: unknown, prefix: string): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw invalidRequest(fieldErrors(parsed.error, prefix));
  return parsed.data;
}

/** One value a name; a name given twice becomes a list, which no schema takes. */
export function queryOf(c: Context): Record<string, string | string[]> {
  const entries = Object.entries(c.req.queries());
  return Object.fromEntries(entries.map(([name, values]) => [name, values.length === 1 ? values[0]! : values]));
}

const parameterOf = (kind: ResourceKind): string => (kind === 'cdm_instance' ? 'ins_id' : `${kind}_id`);

function pathId(c: Context, kind: ResourceKind | undefined): string {
  if (kind === undefined) return '';
  const id = c.req.param(parameterOf(kind)) ?? '';
  if (!hasForm(kind, id)) throw notFound(kind, id);
  return id;
}

function hasForm(kind: ResourceKind, id: string): boolean {
  if (kind === 'node') return isNodeId(id);
  if (kind === 'cdm_instance') return isId('ins', id);
  if (kind === 'dead_letter') return /^[1-9][0-9]{0,15}$/.test(id);
  if (kind === 'webhook') return isId('hook', id);
  return kind === 'access_key' ? /^[A-Z0-9]{8,40}$/.test(id) : isId(kind, id);
}

function send(c: Context, answer: Answer): Response {
  return c.json(answer.body, answer.status, answer.location === undefined ? {} : { Location: answer.location });
}

const routePath = (path: string): string => path.replaceAll(/{(.+?)}/g, ':$1');

export function endpoint<Query extends z.ZodType, Body extends z.ZodType>(
  app: App,
  spec: EndpointSpec<Query, Body>,
  handle: (input: Input<z.output<Query>, z.output<Body>>) => Promise<Answer>,
): void {
  document(app, spec, spec.query, spec.body);
  app.on(spec.method.toUpperCase(), routePath(spec.path), async (c) => {
    if (spec.role !== undefined) requireRole(c, spec.role);
    const id = pathId(c, spec.id);
    const query = check(spec.query ?? noQuery, queryOf(c), 'query') as z.output<Query>;
    const given = spec.method === 'get' ? undefined : await readJson(c);
    const body = (spec.body === undefined ? noBody(given) : check(spec.body, given ?? {}, '')) as z.output<Body>;
    return send(c, await handle({ id, query, body, caller: c.get('caller') }));
  });
}

function noBody(given: unknown): undefined {
  if (given !== undefined) check(z.strictObject({}, 'this call takes no body'), given, '');
  return undefined;
}

interface ActionSpec {
  /** Body of the action; none: it takes no field. */
  body?: z.ZodType;
  handle: (input: Input<unknown, never>) => Promise<Answer>;
}

/** Typed at the place where it is declared; the table below holds actions of many bodies. */
export function action<Body extends z.ZodType>(
  body: Body,
  handle: (input: Input<unknown, z.output<Body>>) => Promise<Answer>,
): ActionSpec {
  return { body, handle: handle as ActionSpec['handle'] };
}

/** `POST {path}?action=<name>`, each action with a body of its own. */
export function actions(
  app: App,
  spec: Common & { answers: EndpointSpec<z.ZodType, z.ZodType>['answers'] },
  table: Record<string, ActionSpec>,
): void {
  const names = Object.keys(table) as [string, ...string[]];
  const query = z.strictObject({ action: z.enum(names) });
  const bodies = names.map((name) => table[name]?.body ?? noQuery);
  const union = bodies.length === 1 ? bodies[0]! : z.union(bodies as [z.ZodType, z.ZodType, ...z.ZodType[]]);
  document(app, { ...spec, method: 'post' }, query, union);
  app.post(routePath(spec.path), async (c) => {
    if (spec.role !== undefined) requireRole(c, spec.role);
    const id = pathId(c, spec.id);
    const chosen = table[check(query, queryOf(c), 'query').action]!;
    const body = check(chosen.body ?? noQuery, (await readJson(c)) ?? {}, '') as never;
    return send(c, await chosen.handle({ id, query: {}, body, caller: c.get('caller') }));
  });
}

/** `GET` of server-sent events: the answer is a stream that lasts. */
export function streamEndpoint<Query extends z.ZodType>(
  app: App,
  spec: Common & { query: Query; description: string },
  handle: (input: Omit<Input<z.output<Query>, never>, 'body'>, c: Context<AppEnv>) => Promise<Response>,
): void {
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: spec.path,
    summary: spec.summary,
    description: spec.description,
    tags: [spec.tag],
    security: [{ bearer: [] }],
    request: {
      query: spec.query as never,
      headers: z.object({ 'Last-Event-ID': z.string().optional() }),
      ...(spec.id === undefined ? {} : { params: z.object({ [parameterOf(spec.id)]: z.string() }) }),
    },
    responses: {
      200: { description: 'Server-sent events', content: { 'text/event-stream': { schema: z.string() } } },
      default: { description: 'A problem', content: { 'application/problem+json': { schema: problemSchema } } },
    },
  });
  app.get(routePath(spec.path), async (c) => {
    if (spec.role !== undefined) requireRole(c, spec.role);
    const id = pathId(c, spec.id);
    const query = check(spec.query, queryOf(c), 'query') as z.output<Query>;
    return handle({ id, query, caller: c.get('caller') }, c);
  });
}

function document(
  app: App,
  spec: Omit<EndpointSpec<z.ZodType, z.ZodType>, 'query' | 'body'>,
  query?: z.ZodType,
  body?: z.ZodType,
): void {
  const answers = Object.entries(spec.answers).map(([status, schema]) => [
    status,
    {
      description: status === '202' ? 'Accepted; Location names the job' : 'Done',
      content: { 'application/json': { schema } },
    },
  ]);
  const request: Record<string, unknown> = {};
  if (spec.id !== undefined) request.params = z.object({ [parameterOf(spec.id)]: z.string() });
  if (query !== undefined) request.query = query;
  if (body !== undefined) request.body = { required: true, content: { 'application/json': { schema: body } } };
  if (spec.method !== 'get') {
    request.headers = z.object({ 'Idempotency-Key': z.string().min(1).max(255).optional() });
  }
  app.openAPIRegistry.registerPath({
    method: spec.method,
    path: spec.path,
    summary: spec.summary,
    tags: [spec.tag],
    security: [{ bearer: [] }],
    request,
    responses: {
      ...Object.fromEntries(answers),
      default: { description: 'A problem', content: { 'application/problem+json': { schema: problemSchema } } },
    },
  });
}
