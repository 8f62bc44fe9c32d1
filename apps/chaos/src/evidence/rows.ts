/** The center's tables, read past the center and past the links. */
import { createConnection, type RowDataPacket } from 'mysql2/promise';

export interface JobRow {
  id: string;
  kind: string;
  state: string;
  node_id: string;
  block_id: string | null;
  attempt: number;
  fence: number;
  params: Record<string, unknown>;
  error_code: string | null;
  error_message: string | null;
  bytes_sent: number;
  created_at: Date;
  finished_at: Date | null;
}
export interface TransitionRow {
  id: number;
  job_id: string;
  attempt: number;
  from_state: string | null;
  to_state: string;
  note: string | null;
  at: Date;
}
export interface AttemptRow {
  fence: number;
  job_id: string;
  attempt: number;
  node_id: string;
}
export interface ClaimRow {
  resource: string;
  job_id: string;
  mode: string;
}
export interface BlockRow {
  id: string;
  name: string;
  state: string;
  size: number;
  root_digest: string | null;
  error_code: string | null;
  content_node_id: string | null;
}
export interface ReplicaRow {
  block_id: string;
  pool_id: string;
  state: string;
  verified_at: Date | null;
  job_id: string | null;
}
export interface InstanceRow {
  id: string;
  node_id: string;
  state: string;
  error_message: string | null;
}
export interface OutboxRow {
  id: number;
  type: string;
  job_id: string;
  attempt: number;
  status: string;
}
export interface InboxRow {
  job_id: string;
  attempt: number;
  seq: number;
  type: string;
  applied: number;
}
export interface DeadLetterRow {
  id: number;
  subject: string;
  reason: string;
}

export interface Rows {
  jobs: JobRow[];
  transitions: TransitionRow[];
  attempts: AttemptRow[];
  claims: ClaimRow[];
  blocks: BlockRow[];
  replicas: ReplicaRow[];
  instances: InstanceRow[];
  outbox: OutboxRow[];
  inbox: InboxRow[];
  deadLetters: DeadLetterRow[];
}

const QUERIES: Readonly<Record<keyof Rows, string>> = {
  jobs: 'SELECT * FROM jobs ORDER BY id',
  transitions: 'SELECT * FROM job_transitions ORDER BY id',
  attempts: 'SELECT fence, job_id, attempt, node_id FROM job_attempts ORDER BY fence',
  claims: 'SELECT * FROM claims',
  blocks: 'SELECT * FROM blocks ORDER BY id',
  replicas: 'SELECT * FROM replicas ORDER BY block_id, pool_id',
  instances: 'SELECT * FROM cdm_instances ORDER BY id',
  outbox: "SELECT id, type, job_id, attempt, status FROM outbox WHERE status = 'pending'",
  inbox: 'SELECT job_id, attempt, seq, type, applied FROM inbox',
  deadLetters: 'SELECT id, subject, reason FROM dead_letters',
};

export async function readRows(mysqlUrl: string): Promise<Rows> {
  const connection = await createConnection({ uri: mysqlUrl, timezone: 'Z', supportBigNumbers: true });
  try {
    await connection.query('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ');
    await connection.query('START TRANSACTION WITH CONSISTENT SNAPSHOT');
    const rows: Partial<Record<keyof Rows, unknown>> = {};
    for (const [name, sql] of Object.entries(QUERIES))
      rows[name as keyof Rows] = (await connection.query<RowDataPacket[]>(sql))[0];
    const all = rows as unknown as Rows;
    for (const job of all.jobs) job.params = asObject(job.params);
    return all;
  } finally {
    await connection.end();
  }
}

/** MariaDB has JSON as text. */
const asObject = (value: unknown): Record<string, unknown> =>
  typeof value === 'string' ? (JSON.parse(value) as Record<string, unknown>) : ((value ?? {}) as Record<string, unknown>);

export async function unfinishedJobs(mysqlUrl: string): Promise<{ id: string; kind: string; state: string; node_id: string }[]> {
  const connection = await createConnection({ uri: mysqlUrl, connectTimeout: 5_000 });
  try {
    const [rows] = await connection.query<RowDataPacket[]>(
      "SELECT id, kind, state, node_id FROM jobs WHERE state NOT IN ('succeeded', 'failed', 'cancelled') ORDER BY id",
    );
    return rows as { id: string; kind: string; state: string; node_id: string }[];
  } finally {
    await connection.end();
  }
}

export async function allJobs(mysqlUrl: string): Promise<string[]> {
  const connection = await createConnection({ uri: mysqlUrl });
  try {
    const [rows] = await connection.query<RowDataPacket[]>('SELECT id FROM jobs');
    return rows.map(({ id }) => id as string);
  } finally {
    await connection.end();
  }
}

/** Pools whose comparison was asked for and is not done. One that is done comes again in an hour at the earliest, any other within fifteen minutes. */
export async function pendingComparisons(mysqlUrl: string): Promise<string[]> {
  const connection = await createConnection({ uri: mysqlUrl });
  try {
    const [rows] = await connection.query<RowDataPacket[]>(
      'SELECT pool_id FROM pool_comparisons WHERE next_at < UTC_TIMESTAMP() + INTERVAL 30 MINUTE',
    );
    return rows.map(({ pool_id }) => pool_id as string);
  } finally {
    await connection.end();
  }
}
