import { jobParams } from '@openservice/protocol';
import { type KindEffects, lockBlock, poolIsAvailable, replicaAbandoned, replicaArrived, replicaPlanned } from './effects.ts';

/** An import makes the block: it is `available` with it, `error` without. */
export const importEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const block = await lockBlock(manager, job.block_id);
    if (block === null) return;
    const size = result.size ?? block.size;
    await manager.query(
      "UPDATE blocks SET state = 'available', size = ?, root_digest = ?, error_code = NULL, error_message = NULL WHERE id = ?",
      [size, result.root_digest, block.id],
    );
    for (const replica of result.replicas) {
      if (replica.state !== 'available') continue;
      await replicaArrived(manager, { ...block, size }, replica.pool_id, replica.stored_bytes, result.verified);
    }
  },

  async ended(manager, job, error) {
    await lockBlock(manager, job.block_id);
    await replicaAbandoned(manager, job);
    await manager.query(
      "UPDATE blocks SET state = 'error', error_code = ?, error_message = ? WHERE id = ? AND state = 'creating'",
      [error.code, error.message.slice(0, 2000), job.block_id],
    );
  },

  async again(manager, job, next) {
    const params = jobParams.import.parse(job.params);
    const block = await lockBlock(manager, params.block_id);
    if (block?.state !== 'error') return `block ${params.block_id} is ${block?.state ?? 'gone'}, not in error.`;
    if (!(await poolIsAvailable(manager, params.pool_id))) return `pool ${params.pool_id} is not available.`;
    if (!(await replicaPlanned(manager, block.id, params.pool_id, next))) return `pool ${params.pool_id} has the block already.`;
    await manager.query("UPDATE blocks SET state = 'creating', error_code = NULL, error_message = NULL WHERE id = ?", [block.id]);
    return null;
  },
};
