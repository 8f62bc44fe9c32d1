/** A block from a source, looked at by a node first and then imported by a job; or one that waits for a client to send its content. */
import { DEFAULT_CHUNK_SIZE, newId } from '@openservice/domain';
import type { JobParams } from '@openservice/protocol';
import { type Block, BlockSchema, type EntityManager, type Pool, ReplicaSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { fromNow } from '../jobs/clock.ts';
import { submitJob } from '../jobs/submit-job.ts';
import type { CreateBlock } from '../routes/schemas/create-block.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import { metaOf } from './block-meta.ts';
import { lookAt, type Seen, type ShownSource, shownSource } from './block-source.ts';
import type { Caller } from './caller.ts';
import { normalExtents } from './extents.ts';
import { findBlock, findSet, mustBeAvailable, usablePool } from './lookups.ts';
import { type Parent, parentRef } from './parent-block.ts';
import { nodeForAll } from './placement.ts';
import { readClaims } from './read-from.ts';
import { invalidRequest, Refusal } from './refusal.ts';
import { limited } from './replicate.ts';
import { joinSet } from './set-membership.ts';

export async function createBlock(deps: AppDeps, body: CreateBlock, caller: Caller): Promise<Answer> {
  const target = await usablePool(deps.database.manager, body.pool_id);
  if (body.set_id !== undefined) await findSet(deps.database.manager, body.set_id);
  if (body.parent_block_id !== undefined) mustBeAvailable(await findBlock(deps.database.manager, body.parent_block_id));
  if (body.source === undefined) return awaitContent(deps, body, target);
  const seen = await lookAt(deps, body.source, target, body.size);
  const extents = body.changed_extents === undefined ? null : normalExtents(body.changed_extents, seen.size);

  const answer = await decide(deps.database, async (manager) => {
    const parent = await parentRef(manager, body.parent_block_id ?? null, target.id, seen.nodeId);
    const [blockId, jobId] = [newId('block'), newId('job')];
    const source = shownSource(seen.ref);
    const block = await insertBlock(manager, body, blockId, { size: seen.size, source, jobId });
    await submitImport(
      manager,
      { block, target, seen, parent, extents, bandwidth: body.bandwidth, priority: body.priority },
      jobId,
      caller,
    );
    await usablePool(manager, target.id); // under the lock that the claim took
    return { status: 202, body: { 'block-id': blockId, 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}

/** No job yet: it begins when the last byte has come. Given up when nothing comes for `contentMs`. */
async function awaitContent(deps: AppDeps, body: CreateBlock, target: Pool): Promise<Answer> {
  const { size } = body;
  if (size === undefined) {
    throw new Refusal(
      'source_required',
      'Give source (file, http or nbd) for a block that a node reads, or size for one whose content you send with PUT /openstore_v1/blocks/{id}/content.',
      { errors: [{ path: 'source', message: 'is required, or else size' }] },
    );
  }
  if (body.bandwidth !== undefined)
    throw invalidRequest([{ path: 'bandwidth', message: 'needs a source: what you send goes as fast as you send it' }]);
  if (body.priority !== undefined)
    throw invalidRequest([{ path: 'priority', message: 'needs a source; give it with PUT …/content?priority= instead' }]);
  return decide(deps.database, async (manager) => {
    const node = await nodeForAll(manager, [target]);
    const blockId = newId('block');
    await manager.query('SELECT id FROM pools WHERE id = ? LOCK IN SHARE MODE', [target.id]);
    await usablePool(manager, target.id);
    await insertBlock(manager, body, blockId, { size, source: { type: 'content', node_id: node.id }, jobId: null });
    await manager.query(`UPDATE blocks SET content_node_id = ?, purge_at = ${fromNow(deps.contentMs)} WHERE id = ?`, [
      node.id,
      blockId,
    ]);
    return { status: 201, body: { 'block-id': blockId }, location: `/openstore_v1/blocks/${blockId}` };
  });
}

/** The block with the replica that is to be made of it. */
async function insertBlock(
  manager: EntityManager,
  body: CreateBlock,
  id: string,
  more: { size: number; source: ShownSource; jobId: string | null },
): Promise<Block> {
  if (body.set_id !== undefined) await joinSet(manager, body.set_id);
  const block = {
    id,
    name: body.name,
    set_id: body.set_id ?? null,
    size: more.size,
    chunk_size: DEFAULT_CHUNK_SIZE,
    state: 'creating' as const,
    root_digest: null,
    parent_block_id: body.parent_block_id ?? null,
    source: more.source,
    error_code: null,
    error_message: null,
    purge_at: null,
    content_node_id: null,
    created_at: new Date(),
  };
  await manager.insert(BlockSchema, block);
  await manager.insert(ReplicaSchema, {
    block_id: id,
    pool_id: body.pool_id,
    state: 'creating',
    stored_bytes: 0,
    job_id: more.jobId,
    created_at: block.created_at,
  });
  return block;
}

export interface Import {
  block: Block;
  target: Pick<Pool, 'id'>;
  seen: Seen;
  parent: Parent | null;
  extents: JobParams['import']['changed_extents'];
  bandwidth?: number | undefined;
  priority?: number | undefined;
}

/** The job that fills a block in state `creating`, whose replica is planned for it. */
export async function submitImport(manager: EntityManager, work: Import, jobId: string, caller: Caller): Promise<void> {
  const { block, target, seen, parent } = work;
  await submitJob(
    manager,
    {
      kind: 'import',
      nodeId: seen.nodeId,
      blockId: block.id,
      setId: block.set_id,
      params: {
        ...limited(work.bandwidth),
        meta: await metaOf(manager, block),
        block_id: block.id,
        size: block.size,
        chunk_size: block.chunk_size,
        pool_id: target.id,
        source: seen.ref,
        parent,
        changed_extents: work.extents,
      },
      claims: [
        { resource: `block:${block.id}`, mode: 'exclusive' },
        { resource: `pool:${target.id}`, mode: 'shared' },
        ...(parent === null ? [] : readClaims(parent.block.id, parent.pool_id)),
      ],
      bytesTotal: block.size,
      priority: work.priority,
      tokenId: caller.tokenId,
      traceparent: caller.traceparent,
    },
    { jobId },
  );
}
