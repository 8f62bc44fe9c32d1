/** A block that an instance reads stays where it is. Asked under the lock of the block's row, which a load takes too. */
import type { EntityManager } from '@openservice/store';
import { Refusal } from './refusal.ts';

interface Reader {
  id: string;
  name: string;
  node_id: string;
  block_id: string;
}

const READERS = `SELECT i.id, i.name, i.node_id, d.block_id FROM cdm_instance_disks d JOIN cdm_instances i ON i.id = d.instance_id`;

/** An instance that reads the block, from one of `poolIds` where they are given; null: none does. */
export async function readerOf(
  manager: EntityManager,
  blockId: string,
  poolIds: readonly string[] | null = null,
): Promise<Reader | null> {
  if (poolIds?.length === 0) return null;
  const where = poolIds === null ? '' : ` AND d.pool_id IN (${poolIds.map(() => '?').join(', ')})`;
  const [reader] = await manager.query<Reader[]>(`${READERS} WHERE d.block_id = ?${where} ORDER BY i.id LIMIT 1`, [
    blockId,
    ...(poolIds ?? []),
  ]);
  return reader ?? null;
}

/** `poolId`: only where it is that replica which is read; null: any. Code `block_in_use` with `instance_id`. */
export async function refuseBlockInUse(manager: EntityManager, blockId: string, poolId: string | null = null): Promise<void> {
  const reader = await readerOf(manager, blockId, poolId === null ? null : [poolId]);
  if (reader !== null) throw inUse(reader, poolId);
}

/** The blocks of the pool must be locked. */
export async function refusePoolInUse(manager: EntityManager, poolId: string): Promise<void> {
  const [reader] = await manager.query<Reader[]>(`${READERS} WHERE d.pool_id = ? ORDER BY i.id LIMIT 1`, [poolId]);
  if (reader !== undefined) throw inUse(reader, poolId);
}

function inUse({ id, name, node_id, block_id }: Reader, poolId: string | null): Refusal {
  const from = poolId === null ? '' : ` from pool ${poolId}`;
  return new Refusal(
    'block_in_use',
    `Block ${block_id} is read${from} by instance ${id} ("${name}", on node ${node_id}); remove the instance first (DELETE /openstore_v1/cdm_instances/${id}).`,
    { instance_id: id, block_id },
  );
}
