import { EntitySchema } from 'typeorm';
import { bigintNumber } from './transformers.ts';

export interface OutboxRow {
  id: number;
  node_id: string;
  type: 'run' | 'cancel' | 'pause' | 'resume' | 'drain' | 'sync';
  job_id: string;
  attempt: number;
  payload: Record<string, unknown>;
  traceparent: string;
  /** `held`: a limit of its node or of one of its pools keeps it back. */
  status: 'pending' | 'done' | 'held';
  /** Of its job; 0: of what tells a node about a job that it has. */
  priority: number;
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
    status: { type: 'enum', enum: ['pending', 'done', 'held'] },
    priority: { type: 'tinyint', default: 5 },
    tries: { type: 'int', default: 0 },
    next_at: { type: 'datetime', precision: 3 },
    created_at: { type: 'datetime', precision: 3 },
  },
});
