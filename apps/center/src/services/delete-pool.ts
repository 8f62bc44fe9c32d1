/**
 * Forgets a pool, and with its row the keys of it. What its place holds is left alone: it can be created there again, an encrypted one with
 * the text of action=export_key alone.
 */
import { BlockSchema, type EntityManager, PoolSchema, ReplicaSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { audit } from '../jobs/submit-job.ts';
import { type Answer, decide } from './answers.ts';
import { type Caller, mayActAs } from './caller.ts';
import { refusePoolInUse } from './instance-use.ts';
import { findPool } from './lookups.ts';
import { placeOf } from './pool-place.ts';
import { notFound, Refusal } from './refusal.ts';

export async function deletePool(deps: AppDeps, id: string, force: boolean, caller: Caller): Promise<Answer> {
  if (force && !mayActAs(caller, 'admin')) {
    throw new Refusal('forbidden', `force=true needs the role admin; the token has the role ${caller.role}.`);
  }
  return decide(deps.database, async (manager) => {
    await findPool(manager, id);
    // Blocks before pools: everybody locks in this order.
    const blockIds = await lockBlocksOf(manager, id);
    const pool = await findPool(manager, id, { lock: true });
    await refuseBusy(manager, id);
    const held = await manager.countBy(ReplicaSchema, { pool_id: id });
    if (held > 0 && !force) {
      throw new Refusal(
        'pool_in_use',
        `Pool ${id} holds ${held === 1 ? 'a replica of 1 block' : `replicas of ${held} blocks`}, those in the trash too; delete them first (with purge=true), or repeat with force=true to forget them.`,
        {
          block_count: held,
        },
      );
    }
    await refusePoolInUse(manager, id);
    if (held !== blockIds.length) throw new Refusal('pool_busy', `Pool ${id} is being written to; try again.`);
    await manager.delete(ReplicaSchema, { pool_id: id });
    const lost = await markLost(manager, blockIds, id);
    const gone = await manager.delete(PoolSchema, { id });
    if (gone.affected !== 1) throw notFound('pool', id);
    await audit(manager, caller.tokenId, 'pool.delete', id, {
      name: pool.name,
      place: placeOf(pool),
      encrypted: pool.pool_key_sealed !== null,
      force,
      replicas: held,
      lost,
    });
    return { status: 200, body: { 'pool-id': id, removed_replicas: held, lost_blocks: lost } };
  });
}

async function lockBlocksOf(manager: EntityManager, poolId: string): Promise<string[]> {
  const rows = await manager.query<{ id: string }[]>(
    'SELECT b.id FROM blocks b JOIN replicas r ON r.block_id = b.id WHERE r.pool_id = ? ORDER BY b.id FOR UPDATE',
    [poolId],
  );
  return rows.map((row) => row.id);
}

async function refuseBusy(manager: EntityManager, poolId: string): Promise<void> {
  const [claim] = await manager.query<{ job_id: string }[]>('SELECT job_id FROM claims WHERE resource = ? LIMIT 1', [
    `pool:${poolId}`,
  ]);
  if (claim === undefined) return;
  throw new Refusal('pool_busy', `Job ${claim.job_id} is using pool ${poolId}; wait for it or cancel it.`, {
    job_id: claim.job_id,
  });
}

/** How many blocks have no replica left. One that was in the trash alone there is gone: nobody wanted it. */
async function markLost(manager: EntityManager, blockIds: readonly string[], poolId: string): Promise<number> {
  let lost = 0;
  for (const id of blockIds) {
    if (await manager.existsBy(ReplicaSchema, { block_id: id })) continue;
    if ((await manager.delete(BlockSchema, { id, state: 'trashed' })).affected === 1) continue;
    lost++;
    await manager.update(
      BlockSchema,
      { id },
      {
        state: 'error',
        error_code: 'replica_lost',
        error_message: `Its last replica went with pool ${poolId}, which was deleted by force.`,
      },
    );
  }
  return lost;
}
