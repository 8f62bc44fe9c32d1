/** A block, or all blocks of a set, become live disks of a node; nothing is copied. */
import { newId } from '@openservice/domain';
import type { Block, CdmInstance, EntityManager, Pool } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import type { LoadInstance } from '../routes/schemas/cdm-instances.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { freeName } from './instance-name.ts';
import { nodeToLoad } from './instance-place.ts';
import { blocksOfSet, distinctClaims, insertInstance, instanceClaim, onlyBlock } from './instance-rows.ts';
import { findBlock, findSet, mustBeAvailable, usablePool } from './lookups.ts';
import { bestSource, blockRef, readable, readClaims } from './read-from.ts';
import { Refusal } from './refusal.ts';

/** The job's parameters hold no more. */
const MOST_DISKS = 256;

interface Wanted {
  /** What the instance is called where nobody says otherwise. */
  name: string;
  setId: string | null;
  blocks: Block[];
}

export async function loadInstance(deps: AppDeps, body: LoadInstance, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const wanted = body.block_id === undefined ? await ofSet(manager, body.set_id ?? '') : await ofBlock(manager, body.block_id);
    const { nodeId, disks } = await place(manager, wanted.blocks, body);
    const [id, jobId] = [newId('ins'), newId('job')];
    const instance = await insertNamed(manager, { id, node_id: nodeId, set_id: wanted.setId, read_only: body.read_only }, disks, {
      asked: body.name,
      otherwise: wanted.name,
    });
    await submitJob(
      manager,
      {
        kind: 'load',
        nodeId,
        blockId: onlyBlock(disks.map(({ block }) => ({ block_id: block.id }))),
        setId: wanted.setId,
        params: {
          instance_id: id,
          name: instance.name,
          read_only: body.read_only,
          disks: disks.map(({ block, pool }, index) => ({ index, block: blockRef(block), pool_id: pool.id })),
        },
        claims: distinctClaims([...disks.flatMap(({ block, pool }) => readClaims(block.id, pool.id)), instanceClaim(id)]),
        bytesTotal: 0,
        priority: body.priority,
        tokenId: caller.tokenId,
        traceparent: caller.traceparent,
      },
      { jobId },
    );
    // Under the lock that the claims took: one may have been deleted meanwhile.
    for (const poolId of new Set(disks.map(({ pool }) => pool.id))) await usablePool(manager, poolId);
    return { status: 202, body: { 'ins-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}

async function ofBlock(manager: EntityManager, id: string): Promise<Wanted> {
  const block = await findBlock(manager, id, { lock: true });
  mustBeAvailable(block);
  return { name: block.name, setId: null, blocks: [block] };
}

/** All of it, or nothing: half a set would be a machine without some of its disks. */
async function ofSet(manager: EntityManager, id: string): Promise<Wanted> {
  const set = await findSet(manager, id);
  const blocks = await blocksOfSet(manager, id, MOST_DISKS + 1);
  if (blocks.length === 0) throw new Refusal('set_empty', `Set ${id} has no blocks, so there is nothing to load.`);
  if (blocks.length > MOST_DISKS) {
    throw new Refusal('set_too_large', `Set ${id} has more than ${MOST_DISKS} blocks; load some of them, each by its block_id.`);
  }
  for (const block of blocks) mustBeAvailable(block);
  return { name: set.name, setId: id, blocks };
}

interface Placed {
  block: Block;
  pool: Pool;
}

async function place(
  manager: EntityManager,
  blocks: readonly Block[],
  asked: Pick<LoadInstance, 'node_id' | 'from_pool_id'>,
): Promise<{ nodeId: string; disks: Placed[] }> {
  const pools: Pool[][] = [];
  for (const block of blocks) pools.push(await readable(manager, block, asked.from_pool_id));
  const node = await nodeToLoad(manager, asked.node_id, pools);
  const disks: Placed[] = [];
  for (const [index, block] of blocks.entries()) {
    disks.push({ block, pool: await bestSource(manager, block, pools[index] ?? [], node.id) });
  }
  return { nodeId: node.id, disks };
}

async function insertNamed(
  manager: EntityManager,
  known: Pick<CdmInstance, 'id' | 'node_id' | 'set_id' | 'read_only'>,
  disks: readonly Placed[],
  name: { asked: string | undefined; otherwise: string },
): Promise<CdmInstance> {
  const rows = disks.map(({ block, pool }, index) => ({
    instance_id: known.id,
    disk_index: index,
    block_id: block.id,
    pool_id: pool.id,
    size: block.size,
    overlay_bytes: 0,
  }));
  for (;;) {
    const instance: CdmInstance = {
      ...known,
      name: name.asked ?? (await freeName(manager, name.otherwise)),
      state: 'loading',
      error_code: null,
      error_message: null,
      created_at: new Date(),
    };
    if (await insertInstance(manager, instance, rows)) return instance;
    if (name.asked !== undefined) {
      throw new Refusal('name_taken', `An instance is called "${name.asked}" already; choose another name, or leave name out.`, {
        errors: [{ path: 'name', message: 'is taken' }],
      });
    }
  }
}
