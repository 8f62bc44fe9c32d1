import { z } from '@hono/zod-openapi';
import { idOf, nodeId } from './fields.ts';

const TYPE = /^[a-z][a-z_]*(\.[a-z][a-z_]*)?$/;

/** `job.failed`, or `job` for all that begin so. */
export const eventType = z
  .string()
  .max(64, 'must be a type of events')
  .regex(TYPE, 'must be a type of events, like job.failed or job');

const typeList = z
  .string()
  .max(1024, 'must be 1024 characters at most')
  .transform((text) => text.split(','))
  .refine(
    (types) => types.every((type) => TYPE.test(type)),
    'must be types of events, like job.failed or job, separated by commas',
  )
  .openapi({ type: 'string', description: 'Types of events, separated by commas; `job` is all of `job.…`.' });

const lastEventId = z
  .string()
  .regex(/^[0-9]{1,15}$/, 'must be the id of an event')
  .transform(Number)
  .optional()
  .openapi({ type: 'string', description: 'As the header Last-Event-ID, which goes before it.' });

const ofJob = { type: typeList.optional(), last_event_id: lastEventId };

export const eventsQuery = z.strictObject({
  ...ofJob,
  job_id: idOf('job').optional(),
  block_id: idOf('block').optional(),
  node_id: nodeId.optional(),
  pool_id: idOf('pool').optional(),
  instance_id: idOf('ins').optional(),
});
export const jobEventsQuery = z.strictObject(ofJob);
