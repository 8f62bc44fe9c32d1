import { EntitySchema } from 'typeorm';
import { bigintNumber } from './transformers.ts';

export interface EventRow {
  id: number;
  /** Its place in the stream; null until the transaction that wrote it has committed and somebody has given it one. */
  position: number | null;
  type: string;
  job_id: string | null;
  block_id: string | null;
  node_id: string | null;
  pool_id: string | null;
  instance_id: string | null;
  data: Record<string, unknown>;
  at: Date;
}

export const EventRowSchema: EntitySchema<EventRow> = new EntitySchema<EventRow>({
  name: 'EventRow',
  tableName: 'events',
  columns: {
    id: { type: 'bigint', transformer: bigintNumber, primary: true, generated: 'increment' },
    position: { type: 'bigint', transformer: bigintNumber, nullable: true },
    type: { type: 'varchar', length: 64 },
    job_id: { type: 'varchar', length: 40, nullable: true },
    block_id: { type: 'varchar', length: 40, nullable: true },
    node_id: { type: 'varchar', length: 64, nullable: true },
    pool_id: { type: 'varchar', length: 40, nullable: true },
    instance_id: { type: 'varchar', length: 40, nullable: true },
    data: { type: 'json' },
    at: { type: 'datetime', precision: 3 },
  },
});
