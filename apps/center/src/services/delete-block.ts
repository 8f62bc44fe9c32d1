/** A block goes with all its replicas, to the trash or for good; or one replica of it goes, for good. */
import { newId } from '@openservice/domain';
import { type JobParams, jobParams } from '@openservice/protocol';
import { type Block, type EntityManager, JobSchema, type Replica } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import { removeBlockRow } from './block-row.ts';
import type { Caller } from './caller.ts';
import { dropContent } from './content-drop.ts';
import { refuseBlockInUse } from './instance-use.ts';
import type { JobRequest } from './job-request.ts';
import { findBlock, replicasOf } from './lookups.ts';
import { nodeForAll } from './placement.ts';
import { poolsOf } from './read-from.ts';
import { Refusal } from './refusal.ts';

/** Who wants it; the center itself has no token. */
export type Asker = Pick<JobRequest, 'tokenId' | 'traceparent' | 'priority'>;

/** How long a deleted block can be had back, ms; 0: not at all. */
export interface TrashWindow {
  trashMs: number;
}

export interface DeleteOptions {
  /** The replica there alone; null: the block with all of them. */
  poolId: string | null;
  /** Past the trash, or out of it. */
  purge: boolean;
  priority: number | undefined;
}

export async function deleteBlock(deps: AppDeps, id: string, options: DeleteOptions, caller: Caller): Promise<Answer> {
  const { poolId } = options;
  const asker: Asker = { ...caller, priority: options.priority };
  const answer = await decide(deps.database, async (manager): Promise<Answer> => {
    if (poolId !== null) return accepted(id, await submitReplicaDelete(manager, id, poolId, asker));
    const jobId = await submitDelete(manager, id, { trashMs: options.purge ? 0 : deps.trashMs }, asker);
    if (jobId !== null) return accepted(id, jobId);
    return { status: 200, body: { 'block-id': id, 'job-id': null } };
  });
  deps.relay.poke();
  await dropContent(deps, id);
  return answer;
}

function accepted(id: string, jobId: string): Answer {
  return { status: 202, body: { 'block-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
}

/** The job that deletes the block; null when there was nothing stored and its row went at once. */
export async function submitDelete(
  manager: EntityManager,
  id: string,
  { trashMs }: TrashWindow,
  asker: Asker,
): Promise<string | null> {
  const block = await findBlock(manager, id, { lock: true });
  await refuseHeld(manager, id);
  await refuseBlockInUse(manager, id);
  refuseState(block, trashMs > 0);
  const all = await replicasOf(manager, [id]);
  // What has no content yet, or is stored nowhere, cannot be had back.
  const trash = trashMs > 0 && block.root_digest !== null && all.length > 0;
  const replicas = all.filter((replica) => isStored(block, replica, trash));
  const poolIds = replicas.length > 0 ? replicas.map((replica) => replica.pool_id) : await placeOfFailedJob(manager, block);
  if (poolIds.length === 0) {
    await dropRow(manager, block);
    return null;
  }
  const jobId = newId('job');
  const params = trash
    ? { block_id: id, pool_ids: poolIds, trash, trash_ms: trashMs }
    : { block_id: id, pool_ids: poolIds, trash };
  await submit(manager, block, params, jobId, asker);
  await markDeleting(manager, id, poolIds, jobId);
  await manager.query("UPDATE blocks SET state = 'deleting', error_code = NULL, error_message = NULL WHERE id = ?", [id]);
  return jobId;
}

/** What waits for its content has nothing in a pool yet; what a move left behind is removed for good and not put into the trash. */
function isStored(block: Block, replica: Replica, trash: boolean): boolean {
  if (block.state === 'creating') return false;
  return !(trash && replica.state === 'deleting');
}

function refuseState(block: Block, wantsTrash: boolean): void {
  if (block.state === 'deleting') throw new Refusal('block_not_available', `Block ${block.id} is being deleted already.`);
  if (block.state !== 'trashed' || !wantsTrash) return;
  const until = block.purge_at === null ? '' : ` until ${block.purge_at.toISOString()}`;
  throw new Refusal(
    'block_not_available',
    `Block ${block.id} is in the trash${until}; POST …?action=undelete brings it back, DELETE …?purge=true removes it for good.`,
  );
}

/** The block stays available by its other replicas. */
async function submitReplicaDelete(manager: EntityManager, id: string, poolId: string, asker: Asker): Promise<string> {
  const block = await findBlock(manager, id, { lock: true });
  await refuseHeld(manager, id);
  await refuseBlockInUse(manager, id, poolId);
  const replicas = await replicasOf(manager, [id]);
  const going = replicas.find((replica) => replica.pool_id === poolId);
  if (going === undefined)
    throw new Refusal('replica_not_found', `Block ${id} has no replica in pool ${poolId}; see its replicas.`);
  if (!replicas.some((replica) => replica.pool_id !== poolId && replica.state === 'available')) {
    throw new Refusal(
      'last_replica',
      `The replica in pool ${poolId} is the last good one of block ${id}; delete the block itself if it is to go.`,
    );
  }
  return removeReplica(manager, block, poolId, asker);
}

/** The job that removes the replica in that pool for good. Its claims are checked; whether others are left is the caller's to know. */
export async function removeReplica(manager: EntityManager, block: Block, poolId: string, asker: Asker): Promise<string> {
  const jobId = newId('job');
  await submit(manager, block, { block_id: block.id, pool_ids: [poolId], trash: false, replica_only: true }, jobId, asker);
  await markDeleting(manager, block.id, [poolId], jobId);
  return jobId;
}

/** Remembers what a delete that fails gives back. One that is `deleting` is the rest of a move: it was remembered then. */
async function markDeleting(manager: EntityManager, id: string, poolIds: readonly string[], jobId: string): Promise<void> {
  await manager.query(
    `UPDATE replicas SET was_damaged = IF(state IN ('deleting', 'trashed'), was_damaged, state = 'damaged'), state = 'deleting', job_id = ?
     WHERE block_id = ? AND pool_id IN (${poolIds.map(() => '?').join(', ')})`,
    [jobId, id, ...poolIds],
  );
}

/** An import, copy or save that failed may have left something uncommitted in its pool; a node clears it. Empty when there is no such place. */
async function placeOfFailedJob(manager: EntityManager, block: Block): Promise<string[]> {
  if (block.state === 'creating') return [];
  if (block.source?.type === 'instance') return placeOfFailedSave(manager, block);
  const [job] = await manager.query<{ pool_id: string | null }[]>(
    `SELECT JSON_UNQUOTE(JSON_EXTRACT(params, '$.pool_id')) AS pool_id FROM jobs
     WHERE (block_id = ? AND kind = 'import') OR (block_id = ? AND kind = 'copy' AND result_block_id = ?) ORDER BY id DESC LIMIT 1`,
    [block.id, copiedFrom(block), block.id],
  );
  if (job === undefined || job.pool_id === null) return [];
  return (await poolsOf(manager, [job.pool_id])).map((pool) => pool.id);
}

async function placeOfFailedSave(manager: EntityManager, block: Block): Promise<string[]> {
  const job = await manager.findOneBy(JobSchema, { id: String(block.source?.job_id) });
  if (job === null || (job.kind !== 'save' && job.kind !== 'unload')) return [];
  const saved = jobParams[job.kind].parse(job.params).save?.find((one) => one.block_id === block.id);
  return saved === undefined ? [] : (await poolsOf(manager, [saved.pool_id])).map((pool) => pool.id);
}

function copiedFrom(block: Block): string | null {
  return block.source?.type === 'block' && typeof block.source.block_id === 'string' ? block.source.block_id : null;
}

async function submit(
  manager: EntityManager,
  block: Block,
  params: JobParams['delete'],
  jobId: string,
  asker: Asker,
): Promise<void> {
  const node = await nodeForAll(manager, await poolsOf(manager, params.pool_ids));
  await submitJob(
    manager,
    {
      kind: 'delete',
      nodeId: node.id,
      blockId: block.id,
      setId: block.set_id,
      params,
      claims: [
        { resource: `block:${block.id}`, mode: 'exclusive' },
        ...params.pool_ids.map((id) => ({ resource: `pool:${id}`, mode: 'shared' as const })),
      ],
      bytesTotal: block.size,
      priority: asker.priority,
      tokenId: asker.tokenId,
      traceparent: asker.traceparent,
    },
    { jobId },
  );
}

/** Who holds the block is a better answer than the state it is in. */
export async function refuseHeld(manager: EntityManager, blockId: string): Promise<void> {
  const [claim] = await manager.query<{ job_id: string; kind: string }[]>(
    'SELECT c.job_id, j.kind FROM claims c JOIN jobs j ON j.id = c.job_id WHERE c.resource = ? ORDER BY c.job_id LIMIT 1',
    [`block:${blockId}`],
  );
  if (claim === undefined) return;
  throw new Refusal(
    'block_busy',
    `Block ${blockId} is in use by job ${claim.job_id} (${claim.kind}); wait for it or cancel it.`,
    { job_id: claim.job_id },
  );
}

/** A replica that was planned and never came to be goes with it. */
async function dropRow(manager: EntityManager, block: Block): Promise<void> {
  await manager.query("DELETE FROM replicas WHERE block_id = ? AND state = 'creating'", [block.id]);
  await removeBlockRow(manager, block, block.state !== 'trashed');
}
