import { EntitySchema } from 'typeorm';
import { tinyintBoolean } from './transformers.ts';

export interface InboxRow {
  job_id: string;
  attempt: number;
  seq: number;
  type: string;
  applied: boolean;
  at: Date;
}

export const InboxRowSchema: EntitySchema<InboxRow> = new EntitySchema<InboxRow>({
  name: 'InboxRow',
  tableName: 'inbox',
  columns: {
    job_id: { type: 'varchar', length: 40, primary: true },
    attempt: { type: 'int', primary: true },
    seq: { type: 'int', primary: true },
    type: { type: 'varchar', length: 32 },
    applied: { type: 'tinyint', transformer: tinyintBoolean },
    at: { type: 'datetime', precision: 3 },
  },
});
