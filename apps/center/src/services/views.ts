/** Rows as the API shows them. Secrets stop here: no view has a secret_key, access keys are masked. */
import { isPausable } from '@openservice/domain';
import type { Block, BlockSet, Job, JobTransition, Node, Pool, Replica } from '@openservice/store';

const time = (at: Date): string => at.toISOString();
const timeOrNull = (at: Date | null): string | null => at?.toISOString() ?? null;

/** The ends of the key are enough to tell two apart. */
export function mask(key: string | null): string | null {
  if (key === null) return null;
  return key.length <= 8 ? '****' : `${key.slice(0, 3)}****${key.slice(-3)}`;
}

function failure(row: { error_code: string | null; error_message: string | null }): { code: string; message: string } | null {
  return row.error_code === null ? null : { code: row.error_code, message: row.error_message ?? '' };
}

export function poolView(pool: Pool) {
  return {
    id: pool.id,
    name: pool.name,
    type: pool.type,
    node_id: pool.node_id,
    path: pool.path,
    host: pool.host,
    port: pool.port,
    s3_scheme: pool.s3_scheme,
    endpoint: pool.endpoint,
    bucket: pool.bucket,
    region: pool.region,
    prefix: pool.prefix,
    https: pool.https,
    access_key: mask(pool.access_key),
    remote_pool: pool.remote_pool,
    tls_fingerprint: pool.tls_fingerprint,
    encrypted: pool.pool_key_sealed !== null,
    state: pool.state,
    fencing: pool.fencing,
    stored_bytes: pool.stored_bytes,
    logical_bytes: pool.logical_bytes,
    dedup_ratio: pool.stored_bytes === 0 ? null : Math.round((pool.logical_bytes / pool.stored_bytes) * 100) / 100,
    capacity_bytes: pool.capacity_bytes,
    block_count: pool.block_count,
    max_jobs: pool.max_jobs,
    bandwidth: pool.bandwidth,
    created_at: time(pool.created_at),
  };
}

export function setView(set: BlockSet) {
  return {
    id: set.id,
    name: set.name,
    description: set.description,
    labels: set.labels,
    block_count: set.block_count,
    created_at: time(set.created_at),
  };
}

/** `replicas`: of any blocks; those of this one are shown. */
export function blockView(block: Block, replicas: readonly Replica[]) {
  return {
    id: block.id,
    name: block.name,
    set_id: block.set_id,
    size: block.size,
    chunk_size: block.chunk_size,
    state: block.state,
    root_digest: block.root_digest,
    parent_block_id: block.parent_block_id,
    source: block.source,
    replicas: replicas
      .filter((replica) => replica.block_id === block.id)
      .map((replica) => ({
        pool_id: replica.pool_id,
        state: replica.state,
        stored_bytes: replica.stored_bytes,
        root_digest: replica.state === 'creating' ? null : block.root_digest,
        verified_at: timeOrNull(replica.verified_at),
        created_at: time(replica.created_at),
      })),
    error: failure(block),
    purge_at: timeOrNull(block.purge_at),
    created_at: time(block.created_at),
  };
}

/** `waitingFor`: what keeps a job back that is queued. */
export function jobView(job: Job, waitingFor: string | null) {
  return {
    id: job.id,
    kind: job.kind,
    state: job.state,
    node_id: job.node_id,
    block_id: job.block_id,
    set_id: job.set_id,
    result_block_id: job.result_block_id,
    attempt: job.attempt,
    priority: job.priority,
    pause_requested: job.pause_wanted && isPausable(job.state),
    waiting_for: waitingFor,
    next_attempt_at: job.state === 'queued' ? timeOrNull(job.next_attempt_at) : null,
    bytes_total: job.bytes_total,
    bytes_done: job.bytes_done,
    bytes_sent: job.bytes_sent,
    bytes_skipped: job.bytes_skipped,
    rate: job.rate,
    eta_ms: job.eta_ms,
    error: failure(job),
    created_at: time(job.created_at),
    started_at: timeOrNull(job.started_at),
    finished_at: timeOrNull(job.finished_at),
  };
}

export function transitionView(step: JobTransition) {
  return { attempt: step.attempt, from_state: step.from_state, to_state: step.to_state, note: step.note, at: time(step.at) };
}

export function nodeView(node: Node) {
  return {
    id: node.id,
    name: node.name,
    state: node.state,
    epoch: node.epoch,
    version: node.version,
    kinds: node.kinds,
    pool_endpoint: node.pool_endpoint,
    pool_fingerprint: node.pool_fingerprint,
    nbd_endpoint: node.nbd_endpoint,
    import_roots: node.import_roots,
    max_jobs: node.max_jobs,
    bandwidth: node.bandwidth,
    last_seen_at: time(node.last_seen_at),
    created_at: time(node.created_at),
  };
}
