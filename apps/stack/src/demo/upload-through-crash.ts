/**
 * An upload whose node is killed in the middle, and what that cost.
 *
 * Sent again = bytes that went to the S3 server during this upload − bytes that the finished replica takes up there. The bytes are
 * counted by a relay on the wire that knows nothing of the product: request heads and all that the dead process had handed to its
 * kernel are in it. Only where the server cannot be metered (TLS) must the job's own `bytes_sent` do; that is a lower bound, since a
 * process that is killed takes with it the count of what it sent since it last recorded it.
 */
import { PermanentError } from '@openservice/domain';
import type { Stack } from '../supervisor/stack.ts';
import type { ApiClient, Job } from './api-client.ts';
import { followJob } from './follow-job.ts';
import { awaitRestart, killNode, type Restart } from './node-crash.ts';
import type { WireMeter } from './wire-meter.ts';

/** Share of the disk's data (holes take no time), in percent, between which the node is killed; past `latest` there is too little left to show. */
const KILL_BETWEEN = { earliest: 40, latest: 90 };

export interface CrashUpload {
  job: Job;
  /** Share of the disk's data that was done at the kill, 0 … 1. */
  killedAt: number;
  restart: Restart;
  /** Bytes that the replica takes up in the S3 pool. */
  storedBytes: number;
  sentAgainBytes: number;
  /** False: by the job's own count, a lower bound. */
  metered: boolean;
}

export interface CrashUploadOptions {
  api: ApiClient;
  stack: Stack;
  nodeId: string;
  blockId: string;
  s3PoolId: string;
  /** Bytes of the disk that are no holes, about. */
  dataBytes: number;
  meter: WireMeter | null;
  onJob: (job: Job) => void;
  onNote: (text: string) => void;
  signal: AbortSignal;
}

/** PermanentError `too_fast` when the upload had all but ended before the node could be killed. */
export async function uploadThroughCrash(options: CrashUploadOptions): Promise<CrashUpload> {
  const { api, stack, nodeId, signal, onNote } = options;
  const sentBefore = options.meter?.sentBytes ?? 0;
  const jobId = await api.blockAction(options.blockId, 'upload', { pool_id: options.s3PoolId });
  const halfway = await followJob(api, jobId, {
    pollMs: 50,
    signal,
    onJob: (job) => {
      options.onJob(job);
      return share(job, options.dataBytes) >= KILL_BETWEEN.earliest / 100;
    },
  });
  if (share(halfway, options.dataBytes) > KILL_BETWEEN.latest / 100 || halfway.state === 'succeeded') {
    throw new PermanentError(
      'too_fast',
      `The upload was ${Math.round(share(halfway, options.dataBytes) * 100)} % done when it was first seen past ${KILL_BETWEEN.earliest} %, too late to kill the node in the middle; name a larger --size.`,
    );
  }
  const pid = killNode(stack, nodeId);
  onNote(`killed ${nodeId} (SIGKILL, pid ${pid}) at ${Math.round(share(halfway, options.dataBytes) * 100)} % of the data`);
  const restart = await awaitRestart(stack, nodeId, pid, signal);
  onNote(`${nodeId} is back after ${restart.seconds.toFixed(1)} s (pid ${restart.newPid}); the job goes on`);
  const job = await followJob(api, jobId, { signal, onJob: (now) => options.onJob(now) });
  const storedBytes = await storedIn(api, options.blockId, options.s3PoolId);
  const sentBytes = options.meter === null ? job.bytes_sent : options.meter.sentBytes - sentBefore;
  return {
    job,
    killedAt: share(halfway, options.dataBytes),
    restart,
    storedBytes,
    sentAgainBytes: Math.max(0, sentBytes - storedBytes),
    metered: options.meter !== null,
  };
}

/** Bytes that the block's replica in the pool takes up. PermanentError `no_replica` where there is none to be read. */
export async function storedIn(api: ApiClient, blockId: string, poolId: string): Promise<number> {
  const { replicas } = await api.block(blockId);
  const replica = replicas.find((candidate) => candidate.pool_id === poolId);
  if (replica?.state !== 'available') {
    throw new PermanentError('no_replica', `Block ${blockId} has no available replica in ${poolId}: ${JSON.stringify(replicas)}`);
  }
  return replica.stored_bytes;
}

function share(job: Job, dataBytes: number): number {
  return Math.min(1, (job.bytes_done - job.bytes_skipped) / dataBytes);
}
