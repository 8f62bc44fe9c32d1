/** Events as a node makes them. */
import { type JobEvent, type JobEventType, type JobResult, PROTOCOL_VERSION, type Progress } from '@openservice/protocol';
import { newTraceparent } from '@openservice/runtime';
import { DIGEST, SIZE } from './database.ts';

export const PROGRESS: Progress = {
  bytes_total: SIZE,
  bytes_done: 4_000_000,
  bytes_sent: 3_000_000,
  bytes_skipped: 1_000_000,
  rate: 1e6,
  eta_ms: 6000,
};

export function uploaded(poolId: string): JobResult {
  return {
    root_digest: DIGEST,
    size: SIZE,
    replicas: [{ pool_id: poolId, state: 'available', stored_bytes: 7000 }],
    verified: false,
    progress: { ...PROGRESS, bytes_done: SIZE },
    damage: [],
  };
}

const DEFAULTS: Record<JobEventType, unknown> = {
  accepted: {},
  running: { resumed: false, at: '2026-01-01T00:00:00.000Z' },
  checkpoint: PROGRESS,
  paused: { progress: PROGRESS },
  yielded: { progress: PROGRESS },
  preparing: PROGRESS,
  succeeded: null,
  failed: { error: { code: 'unreachable', message: 'S3 is away.' }, transient: true, progress: null },
  cancelled: { progress: null },
};

export function event(jobId: string, attempt: number, seq: number, type: JobEventType, payload?: unknown, node = 'n1'): JobEvent {
  return {
    v: PROTOCOL_VERSION,
    id: `${jobId}-${attempt}-${seq}-${Math.random().toString(36).slice(2)}`,
    type,
    job_id: jobId,
    attempt,
    seq,
    node,
    node_epoch: 1,
    sent_at: new Date().toISOString(),
    traceparent: newTraceparent(),
    payload: payload ?? DEFAULTS[type],
  } as JobEvent;
}
