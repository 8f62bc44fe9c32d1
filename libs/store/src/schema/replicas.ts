import { EntitySchema } from 'typeorm';
import { bigintNumber, tinyintBoolean } from './transformers.ts';

export interface Replica {
  block_id: string;
  pool_id: string;
  state: 'creating' | 'available' | 'deleting' | 'trashed' | 'damaged';
  stored_bytes: number;
  verified_at: Date | null;
  /** Set when a delete begins: what a delete that failed gives back. */
  was_damaged: boolean;
  job_id: string | null;
  created_at: Date;
}

export const ReplicaSchema: EntitySchema<Replica> = new EntitySchema<Replica>({
  name: 'Replica',
  tableName: 'replicas',
  columns: {
    block_id: { type: 'varchar', length: 40, primary: true },
    pool_id: { type: 'varchar', length: 40, primary: true },
    state: { type: 'enum', enum: ['creating', 'available', 'deleting', 'trashed', 'damaged'] },
    stored_bytes: { type: 'bigint', transformer: bigintNumber, default: 0 },
    verified_at: { type: 'datetime', precision: 3, nullable: true },
    was_damaged: { type: 'tinyint', transformer: tinyintBoolean, default: 0 },
    job_id: { type: 'varchar', length: 40, nullable: true },
    created_at: { type: 'datetime', precision: 3 },
  },
});
