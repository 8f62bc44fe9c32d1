/** What an instance's disks become when it is saved: a new block each, planned here and filled by the job. */
import { newId } from '@openservice/domain';
import type { SavedDisk } from '@openservice/protocol';
import { BlockSchema, type CdmInstance, type EntityManager, ReplicaSchema } from '@openservice/store';
import { metaOf } from './block-meta.ts';
import type { LoadedDisk } from './instance-rows.ts';
import type { ClaimRequest } from './job-request.ts';
import { usablePool } from './lookups.ts';
import { readClaims } from './read-from.ts';
import { joinSet } from './set-membership.ts';

export interface SaveAs {
  /** Left out: each into the pool that its base is read from. */
  poolId?: string | undefined;
  /** Left out: that of the instance. */
  name?: string | undefined;
  /** Left out: that of its base. */
  setId?: string | undefined;
}

export interface SavePlan {
  save: SavedDisk[];
  blockIds: string[];
  claims: ClaimRequest[];
  /** Bytes of the disks. */
  bytesTotal: number;
}

/** The new blocks, in order of the disks, with the replica that job `jobId` is to make of each. */
export async function planSave(
  manager: EntityManager,
  { instance, disks }: { instance: CdmInstance; disks: readonly LoadedDisk[] },
  as: SaveAs,
  jobId: string,
): Promise<SavePlan> {
  const plan: SavePlan = { save: [], blockIds: [], claims: [], bytesTotal: 0 };
  for (const disk of disks) {
    const pool = await usablePool(manager, as.poolId ?? disk.pool_id);
    const block = {
      id: newId('block'),
      name: nameOf(instance, disk, disks.length, as.name),
      set_id: as.setId ?? disk.block.set_id,
      size: disk.size,
      chunk_size: disk.block.chunk_size,
      state: 'creating' as const,
      parent_block_id: disk.block_id,
      // The job is remembered for its pool: what a save that failed has left there is cleared when the block is deleted.
      source: { type: 'instance', instance_id: instance.id, block_id: disk.block_id, job_id: jobId },
      created_at: new Date(),
    };
    if (block.set_id !== null) await joinSet(manager, block.set_id);
    await manager.insert(BlockSchema, block);
    await manager.insert(ReplicaSchema, {
      block_id: block.id,
      pool_id: pool.id,
      state: 'creating',
      stored_bytes: 0,
      job_id: jobId,
      created_at: block.created_at,
    });
    plan.save.push({ index: disk.disk_index, block_id: block.id, pool_id: pool.id, meta: await metaOf(manager, block) });
    plan.blockIds.push(block.id);
    plan.claims.push({ resource: `block:${block.id}`, mode: 'exclusive' }, ...readClaims(disk.block_id, disk.pool_id), {
      resource: `pool:${pool.id}`,
      mode: 'shared',
    });
    plan.bytesTotal += disk.size;
  }
  return plan;
}

/** To be called after the claims were taken, under whose locks no pool goes. */
export async function poolsAreThere(manager: EntityManager, { save }: SavePlan): Promise<void> {
  for (const poolId of new Set(save.map((one) => one.pool_id))) await usablePool(manager, poolId);
}

/** The one new block, where it is one. */
export async function noteResultBlock(manager: EntityManager, jobId: string, { blockIds }: SavePlan): Promise<void> {
  if (blockIds.length !== 1) return;
  await manager.query('UPDATE jobs SET result_block_id = ? WHERE id = ?', [blockIds[0], jobId]);
}

function nameOf(instance: CdmInstance, disk: LoadedDisk, count: number, asked: string | undefined): string {
  return count === 1 && asked !== undefined ? asked : `${asked ?? instance.name} ${disk.disk_index + 1}`;
}
