/** The bases of an instance are copied into a pool near its node while it is used, and read from there once they are whole. */
import { newId } from '@openservice/domain';
import { type CdmInstance, type EntityManager, type Pool, ReplicaSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import type { HydrateInstance } from '../routes/schemas/cdm-instances.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { distinctClaims, instanceClaim, type LoadedDisk, lockInstance, mustBeLoaded, onlyBlock } from './instance-rows.ts';
import { replicasOf, usablePool } from './lookups.ts';
import { nodeOfPool } from './placement.ts';
import { blockRef, readClaims } from './read-from.ts';
import { invalidRequest, Refusal } from './refusal.ts';
import { limited } from './replicate.ts';

export async function hydrateInstance(deps: AppDeps, id: string, body: HydrateInstance, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const { instance, disks: all } = await lockInstance(manager, id);
    mustBeLoaded(instance);
    const pool = await usablePool(manager, body.pool_id);
    mustBeNear(pool, instance);
    const missing = await notYetIn(manager, pool, all);
    // Also one that is read from there while nobody knows of a replica: it was left by a hydrate that failed.
    const disks = all.filter((disk) => disk.pool_id !== pool.id || missing.includes(disk));
    if (disks.length === 0) {
      throw new Refusal(
        'already_hydrated',
        `Instance ${id} reads all its disks from pool ${pool.id} already; nothing is to be done.`,
      );
    }
    const jobId = newId('job');
    await submitJob(
      manager,
      {
        kind: 'hydrate',
        nodeId: instance.node_id,
        blockId: onlyBlock(all),
        setId: instance.set_id,
        params: {
          ...limited(body.bandwidth),
          instance_id: id,
          pool_id: pool.id,
          disks: disks.map((disk) => ({ index: disk.disk_index, block: blockRef(disk.block), pool_id: disk.pool_id })),
        },
        claims: distinctClaims([
          instanceClaim(id),
          ...missing.map(({ block_id }) => ({ resource: `replica:${block_id}/${pool.id}`, mode: 'exclusive' as const })),
          ...disks.flatMap((disk) => [...readClaims(disk.block_id, disk.pool_id), ...readClaims(disk.block_id, pool.id)]),
        ]),
        bytesTotal: missing.reduce((sum, disk) => sum + disk.size, 0),
        priority: body.priority,
        tokenId: caller.tokenId,
        traceparent: caller.traceparent,
      },
      { jobId },
    );
    for (const { block_id } of missing) {
      await manager.insert(ReplicaSchema, {
        block_id,
        pool_id: pool.id,
        state: 'creating',
        stored_bytes: 0,
        job_id: jobId,
        created_at: new Date(),
      });
    }
    await usablePool(manager, pool.id); // under the lock that the claim took
    return { status: 202, body: { 'ins-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}

function mustBeNear(pool: Pool, instance: CdmInstance): void {
  const bound = nodeOfPool(pool);
  if (bound === instance.node_id) return;
  const where = bound === null ? `is of type ${pool.type}` : `lies on node ${bound}`;
  throw invalidRequest([
    {
      path: 'pool_id',
      message: `must be a local or dedup pool of node ${instance.node_id}, which serves the instance; pool ${pool.id} ${where}`,
    },
  ]);
}

/** The disks whose block has no replica there. One that is there but cannot be read stands in the way. */
async function notYetIn(manager: EntityManager, pool: Pool, disks: readonly LoadedDisk[]): Promise<LoadedDisk[]> {
  const replicas = await replicasOf(
    manager,
    disks.map((disk) => disk.block_id),
  );
  const there = new Map(replicas.filter((one) => one.pool_id === pool.id).map((one) => [one.block_id, one]));
  for (const [blockId, replica] of there) {
    if (replica.state === 'available') continue;
    const named = `The replica of block ${blockId} in pool ${pool.id} is ${replica.state}`;
    if (replica.state === 'damaged') {
      throw new Refusal(
        'replica_exists',
        `${named}; repair it (POST …/blocks/${blockId}?action=verify, repair) or delete it first.`,
      );
    }
    throw new Refusal('block_busy', `${named} by job ${replica.job_id}; wait for it or cancel it.`, { job_id: replica.job_id });
  }
  return disks.filter((disk) => !there.has(disk.block_id));
}
