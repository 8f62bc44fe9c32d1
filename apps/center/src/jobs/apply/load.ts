import { type JobParams, jobParams } from '@openservice/protocol';
import type { EntityManager } from '@openservice/store';
import { deleteInstance, insertInstance } from '../../services/instance-rows.ts';
import type { KindEffects } from './effects.ts';
import { lockInstanceRow } from './instances.ts';
import { sourceGone } from './upload.ts';

/** An instance that could not be loaded is none: its rows go, and the job says why. */
export const loadEffects: KindEffects = {
  async succeeded(manager, job) {
    const { instance_id } = jobParams.load.parse(job.params);
    await manager.query("UPDATE cdm_instances SET state = 'loaded' WHERE id = ? AND state = 'loading'", [instance_id]);
  },

  async ended(manager, job) {
    const { instance_id } = jobParams.load.parse(job.params);
    if ((await lockInstanceRow(manager, instance_id))?.state === 'loading') await deleteInstance(manager, instance_id);
  },

  /** The same instance, under the same id. */
  async again(manager, job) {
    const params = jobParams.load.parse(job.params);
    const gone = await basesGone(manager, params.disks);
    if (gone !== null) return gone;
    const instance = {
      id: params.instance_id,
      name: params.name,
      node_id: job.node_id,
      set_id: job.set_id,
      state: 'loading' as const,
      read_only: params.read_only,
      error_code: null,
      error_message: null,
      created_at: new Date(),
    };
    const disks = params.disks.map(({ index, block, pool_id }) => ({
      instance_id: params.instance_id,
      disk_index: index,
      block_id: block.id,
      pool_id,
      size: block.size,
      overlay_bytes: 0,
    }));
    if (await insertInstance(manager, instance, disks)) return null;
    return `there is an instance ${params.instance_id}, or one called "${params.name}", already.`;
  },
};

export async function basesGone(manager: EntityManager, disks: JobParams['load']['disks']): Promise<string | null> {
  for (const { block, pool_id } of disks.toSorted((a, b) => (a.block.id < b.block.id ? -1 : 1))) {
    const gone = await sourceGone(manager, block, pool_id);
    if (gone !== null) return gone;
  }
  return null;
}
