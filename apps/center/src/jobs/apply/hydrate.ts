import { type JobParams, jobParams } from '@openservice/protocol';
import type { EntityManager } from '@openservice/store';
import { type KindEffects, lockBlock, poolIsAvailable, replicaAbandoned, replicaArrived, replicaPlanned } from './effects.ts';
import { clearInstanceFailure, noteInstanceFailure, notLoaded } from './instances.ts';
import { basesGone } from './load.ts';

const blocksOf = ({ disks }: JobParams['hydrate']): string[] => disks.map(({ block }) => block.id).toSorted();

/** Further replicas of the bases, which the instance reads from then on. A failure leaves it as it was. */
export const hydrateEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const params = jobParams.hydrate.parse(job.params);
    for (const blockId of blocksOf(params)) {
      const block = await lockBlock(manager, blockId);
      const made = result.replicas.find(
        (one) => (one.block_id ?? job.block_id) === blockId && one.pool_id === params.pool_id && one.state === 'available',
      );
      if (block === null || made === undefined) continue;
      await replicaArrived(manager, block, params.pool_id, made.stored_bytes, result.verified);
    }
    // What it did not tell of did not come to be.
    for (const blockId of blocksOf(params)) await replicaAbandoned(manager, job, blockId);
    await rebase(manager, params);
    await clearInstanceFailure(manager, params.instance_id);
  },

  async ended(manager, job, error) {
    const params = jobParams.hydrate.parse(job.params);
    for (const blockId of blocksOf(params)) {
      await lockBlock(manager, blockId);
      await replicaAbandoned(manager, job, blockId);
    }
    await noteInstanceFailure(manager, params.instance_id, 'hydrate', error);
  },

  async again(manager, job, next) {
    const params = jobParams.hydrate.parse(job.params);
    const refused = (await basesGone(manager, params.disks)) ?? (await notLoaded(manager, params.instance_id));
    if (refused !== null) return refused;
    if (!(await poolIsAvailable(manager, params.pool_id))) return `pool ${params.pool_id} is not available.`;
    for (const blockId of blocksOf(params)) {
      if (await replicaPlanned(manager, blockId, params.pool_id, next)) continue;
      const rows = await manager.query<unknown[]>(
        "SELECT block_id FROM replicas WHERE block_id = ? AND pool_id = ? AND state = 'available'",
        [blockId, params.pool_id],
      );
      if (rows.length === 0) return `the replica of block ${blockId} in pool ${params.pool_id} is not available.`;
    }
    return null;
  },
};

/** Only disks that have a replica there: one that the job did not tell of is still read where it was. */
async function rebase(manager: EntityManager, params: JobParams['hydrate']): Promise<void> {
  await manager.query(
    `UPDATE cdm_instance_disks d JOIN replicas r ON r.block_id = d.block_id AND r.pool_id = ? AND r.state = 'available'
     SET d.pool_id = r.pool_id WHERE d.instance_id = ? AND d.disk_index IN (${params.disks.map(() => '?').join(', ')})`,
    [params.pool_id, params.instance_id, ...params.disks.map((disk) => disk.index)],
  );
}
