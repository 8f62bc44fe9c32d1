import { z } from '@hono/zod-openapi';
import { blockView } from './blocks.ts';
import { bytes, flag, idOf, name, priorityText, text, time } from './fields.ts';
import { listQuery, nameFilter, nextMarker } from './lists.ts';

const labels = z
  .record(
    z
      .string()
      .regex(/^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/, 'a label is 1 to 63 letters, digits, ".", "_", "/" or "-"'),
    text(255),
  )
  .refine((all) => Object.keys(all).length <= 64, 'must be 64 labels at most');

export const createSetBody = z
  .strictObject({ name: name(255), description: text(1024).default(''), labels: labels.default({}) })
  .openapi('CreateSet');
export type CreateSet = z.output<typeof createSetBody>;

export const listSetsQuery = listQuery(idOf('set'), { filter: nameFilter });
export const deleteSetQuery = z.strictObject({ cascade: flag.default(false), priority: priorityText });

export const setView = z
  .object({
    id: z.string(),
    name: z.string(),
    description: z.string(),
    labels: z.record(z.string(), z.string()),
    block_count: bytes,
    created_at: time,
  })
  .openapi('Set');
export const setAnswer = z.object({ set: setView.extend({ blocks: z.array(blockView), blocks_truncated: z.boolean() }) });
export const setsAnswer = z.object({ sets: z.array(setView), next_marker: nextMarker });
export const setCreated = z.object({ 'set-id': z.string() });
export const setDeleted = z.object({ 'set-id': z.string(), 'job-ids': z.array(z.string()) });
