import type { HttpBindings } from '@hono/node-server';
import { JobSchema } from '@openservice/store';
import type { Context } from 'hono';
import type { EventFilter } from '../events/filter.ts';
import { serverSentEvents } from '../events/server-sent.ts';
import type { AppDeps, AppEnv } from '../http/deps.ts';
import { type App, streamEndpoint } from '../http/endpoint.ts';
import { invalidRequest, notFound, Refusal } from '../services/refusal.ts';
import * as schema from './schemas/events.ts';

const tag = 'events';
/** Each costs a connection and one batch. */
const MOST_STREAMS = 500;
const HEADERS = { 'Content-Type': 'text/event-stream', 'X-Accel-Buffering': 'no' };
const description =
  'Each event has an `id`; after a break send the last one as `Last-Event-ID` and the stream goes on behind it, at any center. An event of type `gap` ' +
  'says that events between were not kept.';

export function eventRoutes(app: App, deps: AppDeps): void {
  let open = 0;

  function stream(c: Context<AppEnv>, after: number, filter: EventFilter): Response {
    if (c.req.method === 'HEAD') return c.body(null, 200, HEADERS);
    if (open >= MOST_STREAMS) {
      throw new Refusal(
        'too_many_streams',
        `This center serves ${MOST_STREAMS} streams of events already; ask another, or try again later.`,
      );
    }
    open++;
    const { outgoing } = (c.env ?? {}) as Partial<HttpBindings>;
    const body = serverSentEvents({
      tail: deps.events,
      after,
      filter,
      drop: () => outgoing?.destroy(),
      onEnd: (error) => {
        open--;
        if (error !== undefined) deps.log.error({ err: error }, 'a stream of events ended unexpectedly; its client comes back');
      },
    });
    return c.body(body, 200, HEADERS);
  }

  streamEndpoint(
    app,
    {
      path: '/events',
      tag,
      summary: 'Follow what happens, as server-sent events; without Last-Event-ID from now on',
      description,
      query: schema.eventsQuery,
    },
    async ({ query: { type, last_event_id, ...filter } }, c) => {
      const after = lastEventId(c, last_event_id) ?? (await deps.events.state()).last;
      return stream(c, after, { ...filter, types: type });
    },
  );
  streamEndpoint(
    app,
    {
      path: '/jobs/{job_id}/events',
      id: 'job',
      tag,
      summary: 'Follow one job, as server-sent events; without Last-Event-ID from its beginning',
      description,
      query: schema.jobEventsQuery,
    },
    async ({ id, query }, c) => {
      if (!(await deps.database.getRepository(JobSchema).existsBy({ id }))) throw notFound('job', id);
      const after = lastEventId(c, query.last_event_id) ?? (await deps.events.state()).floor;
      return stream(c, after, { job_id: id, types: query.type });
    },
  );
}

/** The header is what a browser sends by itself after a break; the query is for the first time, where it sends none. */
function lastEventId(c: Context, inQuery: number | undefined): number | undefined {
  const header = c.req.header('Last-Event-ID');
  if (header === undefined || header === '') return inQuery;
  if (!/^[0-9]{1,15}$/.test(header)) {
    throw invalidRequest([{ path: 'header.Last-Event-ID', message: 'must be the id of an event that this stream has sent' }]);
  }
  return Number(header);
}
