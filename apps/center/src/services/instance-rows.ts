/** Rows of instances: found, locked, written. Locks go blocks first, then the instance, as everywhere. */
import {
  type Block,
  BlockSchema,
  type CdmInstance,
  type CdmInstanceDisk,
  CdmInstanceDiskSchema,
  CdmInstanceSchema,
  type EntityManager,
  isDuplicate,
} from '@openservice/store';
import type { ClaimRequest } from './job-request.ts';
import { findBlock } from './lookups.ts';
import { notFound, Refusal } from './refusal.ts';
import { IN_TRASH_SQL } from './set-membership.ts';

export interface LoadedDisk extends CdmInstanceDisk {
  block: Block;
}

export async function findInstance(
  manager: EntityManager,
  id: string,
  options: { lock: boolean } = { lock: false },
): Promise<CdmInstance> {
  const lock = options.lock ? { lock: { mode: 'pessimistic_write' as const } } : {};
  const instance = await manager.findOne(CdmInstanceSchema, { where: { id }, ...lock });
  if (instance === null) throw notFound('cdm_instance', id);
  return instance;
}

/** In order of instance and disk. */
export function disksOf(manager: EntityManager, instanceIds: readonly string[]): Promise<CdmInstanceDisk[]> {
  if (instanceIds.length === 0) return Promise.resolve([]);
  return manager
    .createQueryBuilder(CdmInstanceDiskSchema, 'd')
    .where('d.instance_id IN (:...instanceIds)', { instanceIds })
    .orderBy('d.instance_id')
    .addOrderBy('d.disk_index')
    .getMany();
}

/** The instance with its disks and their blocks, all locked. Refused while a job has the instance. */
export async function lockInstance(
  manager: EntityManager,
  id: string,
): Promise<{ instance: CdmInstance; disks: [LoadedDisk, ...LoadedDisk[]] }> {
  await findInstance(manager, id);
  const blocks = new Map<string, Block>();
  for (const blockId of (await disksOf(manager, [id])).map((disk) => disk.block_id).toSorted()) {
    blocks.set(blockId, await findBlock(manager, blockId, { lock: true }));
  }
  const instance = await findInstance(manager, id, { lock: true });
  await refuseBusy(manager, id);
  // Under the lock: a hydrate that has just ended changed where they are read.
  const disks: LoadedDisk[] = [];
  for (const disk of await disksOf(manager, [id])) {
    const block = blocks.get(disk.block_id);
    if (block !== undefined) disks.push({ ...disk, block });
  }
  const [first, ...others] = disks;
  if (first === undefined) throw notFound('cdm_instance', id);
  return { instance, disks: [first, ...others] };
}

/** Who has the instance is a better answer than the state that it is in. */
export async function refuseBusy(manager: EntityManager, id: string): Promise<void> {
  const [claim] = await manager.query<{ job_id: string; kind: string }[]>(
    'SELECT c.job_id, j.kind FROM claims c JOIN jobs j ON j.id = c.job_id WHERE c.resource = ? ORDER BY c.job_id LIMIT 1',
    [`instance:${id}`],
  );
  if (claim === undefined) return;
  throw new Refusal(
    'instance_busy',
    `Instance ${id} is in use by job ${claim.job_id} (${claim.kind}); wait for it or cancel it.`,
    { job_id: claim.job_id },
  );
}

export function mustBeLoaded(instance: CdmInstance): void {
  if (instance.state === 'loaded') return;
  const why = instance.error_message === null ? '' : ` (${instance.error_message})`;
  throw new Refusal('instance_not_loaded', `Instance ${instance.id} is ${instance.state}${why}; it must be loaded for this.`);
}

export function mustBeWritable(instance: CdmInstance, what: string): void {
  if (!instance.read_only) return;
  throw new Refusal(
    'instance_read_only',
    `Instance ${instance.id} is read-only, so there is nothing to ${what}: it is its block; load the block without read_only to write.`,
  );
}

/** False, and nothing written, where an instance of that name exists. */
export async function insertInstance(
  manager: EntityManager,
  instance: CdmInstance,
  disks: readonly CdmInstanceDisk[],
): Promise<boolean> {
  try {
    await manager.insert(CdmInstanceSchema, instance);
  } catch (error) {
    if (isDuplicate(error)) return false;
    throw error;
  }
  await manager.insert(CdmInstanceDiskSchema, [...disks]);
  return true;
}

export async function deleteInstance(manager: EntityManager, id: string): Promise<void> {
  await manager.query('DELETE FROM cdm_instance_disks WHERE instance_id = ?', [id]);
  await manager.query('DELETE FROM cdm_instances WHERE id = ?', [id]);
}

export const instanceClaim = (id: string): ClaimRequest => ({ resource: `instance:${id}`, mode: 'exclusive' });

/** Each resource once; exclusive where one of them is. */
export function distinctClaims(claims: readonly ClaimRequest[]): ClaimRequest[] {
  const distinct = new Map<string, ClaimRequest>();
  for (const claim of claims) if (distinct.get(claim.resource)?.mode !== 'exclusive') distinct.set(claim.resource, claim);
  return [...distinct.values()];
}

/** The block of a job on the instance; null where it has several. */
export function onlyBlock(disks: readonly { block_id: string }[]): string | null {
  return disks.length === 1 ? (disks[0]?.block_id ?? null) : null;
}

/** Those of the set but for the trash, locked in order of id. */
export function blocksOfSet(manager: EntityManager, setId: string, limit: number): Promise<Block[]> {
  return manager
    .createQueryBuilder(BlockSchema, 'blocks')
    .setLock('pessimistic_write')
    .where(`blocks.set_id = :setId AND NOT ${IN_TRASH_SQL}`, { setId })
    .orderBy('blocks.id')
    .limit(limit)
    .getMany();
}
