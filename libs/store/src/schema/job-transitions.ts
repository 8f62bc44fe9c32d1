import type { JobState } from '@openservice/domain';
import { EntitySchema } from 'typeorm';
import { bigintNumber } from './transformers.ts';

export interface JobTransition {
  id: number;
  job_id: string;
  attempt: number;
  from_state: JobState | null;
  to_state: JobState;
  note: string | null;
  at: Date;
}

export const JobTransitionSchema: EntitySchema<JobTransition> = new EntitySchema<JobTransition>({
  name: 'JobTransition',
  tableName: 'job_transitions',
  columns: {
    id: { type: 'bigint', transformer: bigintNumber, primary: true, generated: 'increment' },
    job_id: { type: 'varchar', length: 40 },
    attempt: { type: 'int' },
    from_state: { type: 'varchar', length: 16, nullable: true },
    to_state: { type: 'varchar', length: 16 },
    note: { type: 'varchar', length: 2000, nullable: true },
    at: { type: 'datetime', precision: 3 },
  },
});
