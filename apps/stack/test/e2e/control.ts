/** Jobs that take their time, for tests that stop them in the middle. */
import type { Job } from './api.ts';
import { diskFile, imported, localPool, s3Pool, startAction } from './steps.ts';
import type { System } from './system.ts';

/** Bytes a second: a job of 60 MiB then takes some fifteen seconds. */
export const SLOW = 3_000_000;
export const SLOW_MIB = 60;

/** Nodes are known dead after seconds; see docs/ARCHITECTURE.md. */
export const SHORT_TIMES = {
  OPENSERVICE_HEARTBEAT_MS: '500',
  OPENSERVICE_LEASE_MS: '2000',
  OPENSERVICE_SUSPECT_MS: '2000',
  OPENSERVICE_OFFLINE_MS: '4000',
};

export interface Slow {
  jobId: string;
  blockId: string;
  /** Where the block is read, and goes to. */
  from: string;
  to: string;
  /** The image that it was imported from. */
  path: string;
}

/** An upload out of a directory of node-1, which binds it to that node. */
export async function slowUpload(system: System): Promise<Slow> {
  const { id: from } = await localPool(system);
  const path = await diskFile(system, SLOW_MIB, { tail: 313 });
  const blockId = await imported(system, from, path);
  const to = await s3Pool(system);
  return { jobId: await startAction(system, blockId, 'upload', { pool_id: to, bandwidth: SLOW }), blockId, from, to, path };
}

/** From one S3 pool to another: any node can do it. */
export async function slowCopy(system: System): Promise<Slow> {
  const { id: local } = await localPool(system);
  const path = await diskFile(system, SLOW_MIB, { tail: 313 });
  const blockId = await imported(system, local, path);
  const [from, to] = [await s3Pool(system), await s3Pool(system)];
  await system.api.succeeded(await startAction(system, blockId, 'upload', { pool_id: from }));
  const jobId = await startAction(system, blockId, 'upload', { pool_id: to, from_pool_id: from, bandwidth: SLOW });
  return { jobId, blockId, from, to, path };
}

/** It has stored something that a next attempt finds. */
export const underWay = (system: System, jobId: string): Promise<Job> =>
  system.api.jobWhen(jobId, (job) => job.state === 'running' && job.bytes_done > 24 * 1024 * 1024);

/** The node that has the job, and the other one of two. */
export function nodesOf(system: System, job: Job) {
  const has = system.nodes.find(({ name }) => name === job.node_id);
  const other = system.nodes.find(({ name }) => name !== job.node_id);
  if (has === undefined || other === undefined) throw new Error(`The job is on ${job.node_id}.`);
  return { has, other };
}

export const notes = (job: Job): string[] => (job.history ?? []).flatMap(({ note }) => (note === null ? [] : [note]));
