import { EntitySchema } from 'typeorm';
import { bigintNumber } from './transformers.ts';

export interface JobAttempt {
  fence: number;
  job_id: string;
  attempt: number;
  node_id: string;
  created_at: Date;
}

export const JobAttemptSchema: EntitySchema<JobAttempt> = new EntitySchema<JobAttempt>({
  name: 'JobAttempt',
  tableName: 'job_attempts',
  columns: {
    fence: { type: 'bigint', transformer: bigintNumber, primary: true, generated: 'increment' },
    job_id: { type: 'varchar', length: 40 },
    attempt: { type: 'int' },
    node_id: { type: 'varchar', length: 64 },
    created_at: { type: 'datetime', precision: 3 },
  },
});
