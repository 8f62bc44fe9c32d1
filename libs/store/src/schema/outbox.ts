import { EntitySchema } from 'typeorm';
import { bigintNumber } from './transformers.ts';

export interface OutboxRow {
  id: number;
  node_id: string;
  type: 'run' | 'cancel' | 'pause' | 'drain' | 'sync';
  job_id: string;
  attempt: number;
  payload: Record<string, unknown>;
  traceparent: string;
  status: 'pending' | 'done';
  tries: number;
  next_at: Date;
  created_at: Date;
}

export const OutboxRowSchema: EntitySchema<OutboxRow> = new EntitySchema<OutboxRow>({
  name: 'OutboxRow',
  tableName: 'outbox',
  columns: {
    id: { type: 'bigint', transformer: bigintNumber, primary: true, generated: 'increment' },
    node_id: { type: 'varchar', length: 64 },
    type: { type: 'varchar', length: 16 },
    job_id: { type: 'varchar', length: 40 },
    attempt: { type: 'int' },
    payload: { type: 'json' },
    traceparent: { type: 'varchar', length: 64 },
    status: { type: 'enum', enum: ['pending', 'done'] },
    tries: { type: 'int', default: 0 },
    next_at: { type: 'datetime', precision: 3 },
    created_at: { type: 'datetime', precision: 3 },
  },
});
