/** Query parameters of every list. */
import { z } from '@hono/zod-openapi';
import { SORTS } from '../../services/paging.ts';
import { text } from './fields.ts';

const limit = z
  .string()
  .regex(/^[0-9]{1,4}$/, 'must be an integer from 1 to 1000')
  .transform(Number)
  .refine((n) => n >= 1 && n <= 1000, 'must be an integer from 1 to 1000')
  .default(100)
  .openapi({ type: 'integer', minimum: 1, maximum: 1000, default: 100 });

/** `marker`: the form of the ids in this list; `sorts`: by what it can be sorted. */
export const listQuery = <Filters extends z.ZodRawShape>(marker: z.ZodType<string>, filters: Filters) =>
  z.strictObject({
    limit,
    marker: marker.optional(),
    sort: z.enum(SORTS).default('id'),
    ...filters,
  });

/** The seed's: a part of the name. */
export const nameFilter = text(255).optional();
export const nextMarker = z.string().nullable();
