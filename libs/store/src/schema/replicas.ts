import { EntitySchema } from 'typeorm';
import { bigintNumber } from './transformers.ts';

export interface Replica {
  block_id: string;
  pool_id: string;
  state: 'creating' | 'available' | 'deleting' | 'damaged';
  stored_bytes: number;
  verified_at: Date | null;
  job_id: string | null;
  created_at: Date;
}

export const ReplicaSchema: EntitySchema<Replica> = new EntitySchema<Replica>({
  name: 'Replica',
  tableName: 'replicas',
  columns: {
    block_id: { type: 'varchar', length: 40, primary: true },
    pool_id: { type: 'varchar', length: 40, primary: true },
    state: { type: 'enum', enum: ['creating', 'available', 'deleting', 'damaged'] },
    stored_bytes: { type: 'bigint', transformer: bigintNumber, default: 0 },
    verified_at: { type: 'datetime', precision: 3, nullable: true },
    job_id: { type: 'varchar', length: 40, nullable: true },
    created_at: { type: 'datetime', precision: 3 },
  },
});
