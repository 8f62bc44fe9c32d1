import { z } from '@hono/zod-openapi';
import { isId } from '@openservice/domain';
import { ANOMALY_KINDS } from '../../anomalies/report.ts';
import { flag, idOf, time } from './fields.ts';
import { listQuery, nextMarker } from './lists.ts';

const anomalyId = z
  .string()
  .max(64, 'must be an id of the form anomaly-…')
  .refine((value) => isId('anomaly', value), 'must be an id of the form anomaly-…');

export const listAnomaliesQuery = listQuery(anomalyId, {
  kind: z.enum(ANOMALY_KINDS).optional(),
  dismissed: flag.optional().openapi({ type: 'boolean', description: 'true: those that were dismissed and have not healed.' }),
}).omit({ sort: true });
export type ListAnomalies = z.output<typeof listAnomaliesQuery>;

const anomalyView = z
  .object({
    id: z.string(),
    kind: z.enum(ANOMALY_KINDS),
    resource: z.string().openapi({ example: 'pool:pool-01k…/block:block-01k…' }),
    detail: z.string(),
    remedy: z.string().openapi({ description: 'What a person can do.' }),
    since: time,
    seen_at: time,
    dismissed_at: time.nullable(),
  })
  .openapi('Anomaly');
export const anomaliesAnswer = z.object({ anomalies: z.array(anomalyView), next_marker: nextMarker });
export const anomalyDismissed = z.object({ 'anomaly-id': z.string() });

export const compareBody = z
  .strictObject({ pool_id: idOf('pool').optional().openapi({ description: 'Left out: all pools.' }) })
  .openapi('ComparePools');
export const compareAsked = z.object({ pool_id: z.string().nullable() });
