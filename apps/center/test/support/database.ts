/** A migrated database of its own for one test file, on the server that the environment names, with rows to work on. */
import { randomBytes } from 'node:crypto';
import { newId } from '@openservice/domain';
import { newTraceparent } from '@openservice/runtime';
import { type DataSource, inTransaction, migrate, openDatabase } from '@openservice/store';
import { submitJob } from '../../src/jobs/submit-job.ts';
import type { JobRequest } from '../../src/services/job-request.ts';

export interface OwnDatabase {
  database: DataSource;
  url: string;
  drop(): Promise<void>;
}

/** Null, said on the console, when no server is named. */
export async function ownDatabase(): Promise<OwnDatabase | null> {
  const server = process.env.OPENSERVICE_TEST_MYSQL_URL;
  if (server === undefined || server === '') {
    console.log('    skipped: OPENSERVICE_TEST_MYSQL_URL is not set (a URL of a user who may create databases)');
    return null;
  }
  const name = `t_center_${randomBytes(6).toString('hex')}`;
  const root = await openDatabase(server, { connections: 1 });
  await root.query(`CREATE DATABASE ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  const database = await openDatabase(url.href, { connections: 12 });
  await migrate(database);
  return {
    database,
    url: url.href,
    async drop() {
      await database.destroy();
      await root.query(`DROP DATABASE ${name}`);
      await root.destroy();
    },
  };
}

export const DIGEST = 'ab'.repeat(32);
export const SIZE = 10_000_000;

export async function addPool(database: DataSource, nodeId = 'n1'): Promise<string> {
  const id = newId('pool');
  await database.query(
    `INSERT INTO pools (id, name, type, state, node_id, path, fencing, created_at)
     VALUES (?, ?, 'local', 'available', ?, '/data', 'strict', UTC_TIMESTAMP(3))`,
    [id, id, nodeId],
  );
  return id;
}

/** An available block with one counted replica in `poolId`. */
export async function addBlock(database: DataSource, poolId: string): Promise<string> {
  const id = newId('block');
  await database.query(
    `INSERT INTO blocks (id, name, size, chunk_size, state, root_digest, created_at)
     VALUES (?, ?, ?, 1048576, 'available', ?, UTC_TIMESTAMP(3))`,
    [id, id, SIZE, DIGEST],
  );
  await database.query(
    `INSERT INTO replicas (block_id, pool_id, state, stored_bytes, created_at) VALUES (?, ?, 'available', 5000, UTC_TIMESTAMP(3))`,
    [id, poolId],
  );
  await database.query(
    'UPDATE pools SET stored_bytes = stored_bytes + 5000, logical_bytes = logical_bytes + ?, block_count = block_count + 1 WHERE id = ?',
    [SIZE, poolId],
  );
  return id;
}

export function uploadRequest(blockId: string, from: string, to: string, nodeId = 'n1'): JobRequest {
  return {
    kind: 'upload',
    nodeId,
    blockId,
    setId: null,
    params: {
      block: { id: blockId, size: SIZE, chunk_size: 1_048_576, root_digest: DIGEST },
      from_pool_id: from,
      pool_id: to,
    },
    claims: [
      { resource: `block:${blockId}`, mode: 'exclusive' },
      { resource: `pool:${to}`, mode: 'shared' },
      { resource: `pool:${from}`, mode: 'shared' },
    ],
    bytesTotal: SIZE,
    tokenId: null,
    traceparent: newTraceparent(),
  };
}

export interface Upload {
  jobId: string;
  blockId: string;
  from: string;
  to: string;
}

/** What the REST service does for `action=upload`: the planned replica and the job, in one transaction. */
export async function startUpload(database: DataSource, nodeId = 'n1'): Promise<Upload> {
  const [from, to] = [await addPool(database, nodeId), await addPool(database, nodeId)];
  const blockId = await addBlock(database, from);
  const jobId = newId('job');
  await inTransaction(database, async (manager) => {
    await submitJob(manager, uploadRequest(blockId, from, to, nodeId), { jobId });
    await manager.query(
      `INSERT INTO replicas (block_id, pool_id, state, job_id, created_at) VALUES (?, ?, 'creating', ?, UTC_TIMESTAMP(3))`,
      [blockId, to, jobId],
    );
  });
  return { jobId, blockId, from, to };
}

export interface JobView {
  state: string;
  attempt: number;
  fence: number;
  error_code: string | null;
  bytes_done: number;
  bytes_sent: number;
  event_seq: number;
}

export async function readJob(database: DataSource, jobId: string): Promise<JobView> {
  const [row] = await database.query<Record<string, string | number | null>[]>('SELECT * FROM jobs WHERE id = ?', [jobId]);
  return {
    state: String(row?.state),
    attempt: Number(row?.attempt),
    fence: Number(row?.fence),
    error_code: row?.error_code === null ? null : String(row?.error_code),
    bytes_done: Number(row?.bytes_done),
    bytes_sent: Number(row?.bytes_sent),
    event_seq: Number(row?.event_seq),
  };
}

export async function count(database: DataSource, from: string, parameters: unknown[] = []): Promise<number> {
  const [row] = await database.query<{ n: string | number }[]>(`SELECT COUNT(*) AS n FROM ${from}`, parameters);
  return Number(row?.n);
}
