import type { JobKind, JobState } from '@openservice/domain';
import { EntitySchema } from 'typeorm';
import { bigintNumber, tinyintBoolean } from './transformers.ts';

export interface Job {
  id: string;
  kind: JobKind;
  state: JobState;
  node_id: string;
  block_id: string | null;
  set_id: string | null;
  result_block_id: string | null;
  attempt: number;
  fence: number;
  event_seq: number;
  params: Record<string, unknown>;
  /** What the job claimed when it was submitted; a retry claims the same. */
  claims: { resource: string; mode: 'shared' | 'exclusive' }[];
  result: Record<string, unknown> | null;
  bytes_total: number;
  bytes_done: number;
  bytes_sent: number;
  bytes_sent_before: number;
  bytes_skipped: number;
  rate: number;
  eta_ms: number | null;
  error_code: string | null;
  error_message: string | null;
  created_by: string | null;
  traceparent: string;
  /** 1 goes before 9. */
  priority: number;
  /** It is to be `paused`, or is; a new attempt does not begin before somebody resumes it. */
  pause_wanted: boolean;
  /** Attempts that failed. Those that were yielded, or taken from a dead node, are none. */
  failures: number;
  /** While it waits for its next attempt. */
  next_attempt_at: Date | null;
  deadline_at: Date | null;
  created_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
}

export const JobSchema: EntitySchema<Job> = new EntitySchema<Job>({
  name: 'Job',
  tableName: 'jobs',
  columns: {
    id: { type: 'varchar', length: 40, primary: true },
    kind: { type: 'varchar', length: 32 },
    state: { type: 'varchar', length: 16 },
    node_id: { type: 'varchar', length: 64 },
    block_id: { type: 'varchar', length: 40, nullable: true },
    set_id: { type: 'varchar', length: 40, nullable: true },
    result_block_id: { type: 'varchar', length: 40, nullable: true },
    attempt: { type: 'int' },
    fence: { type: 'bigint', transformer: bigintNumber },
    event_seq: { type: 'int', default: 0 },
    params: { type: 'json' },
    claims: { type: 'json' },
    result: { type: 'json', nullable: true },
    bytes_total: { type: 'bigint', transformer: bigintNumber, default: 0 },
    bytes_done: { type: 'bigint', transformer: bigintNumber, default: 0 },
    bytes_sent: { type: 'bigint', transformer: bigintNumber, default: 0 },
    bytes_sent_before: { type: 'bigint', transformer: bigintNumber, default: 0 },
    bytes_skipped: { type: 'bigint', transformer: bigintNumber, default: 0 },
    rate: { type: 'double', default: 0 },
    eta_ms: { type: 'bigint', transformer: bigintNumber, nullable: true },
    error_code: { type: 'varchar', length: 64, nullable: true },
    error_message: { type: 'varchar', length: 2000, nullable: true },
    created_by: { type: 'varchar', length: 40, nullable: true },
    traceparent: { type: 'varchar', length: 64 },
    priority: { type: 'tinyint', default: 5 },
    pause_wanted: { type: 'tinyint', transformer: tinyintBoolean, default: 0 },
    failures: { type: 'int', default: 0 },
    next_attempt_at: { type: 'datetime', precision: 3, nullable: true },
    deadline_at: { type: 'datetime', precision: 3, nullable: true },
    created_at: { type: 'datetime', precision: 3 },
    started_at: { type: 'datetime', precision: 3, nullable: true },
    finished_at: { type: 'datetime', precision: 3, nullable: true },
  },
});
