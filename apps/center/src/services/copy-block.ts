/** A new block with the content of another one. Inside a dedup or s3 pool no data moves. */
import { newId } from '@openservice/domain';
import { BlockSchema, ReplicaSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import type { CopyBlock } from '../routes/schemas/blocks.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import { metaOf } from './block-meta.ts';
import type { Caller } from './caller.ts';
import { findBlock, mustBeAvailable, usablePool } from './lookups.ts';
import { blockRef, readClaims } from './read-from.ts';
import { limited, routeInto } from './replicate.ts';
import { joinSet } from './set-membership.ts';

export async function copyBlock(deps: AppDeps, id: string, body: CopyBlock, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const block = await findBlock(manager, id, { lock: true });
    mustBeAvailable(block);
    const target = await usablePool(manager, body.pool_id);
    const route = await routeInto(manager, block, target, body.from_pool_id);
    if (body.set_id !== undefined) await joinSet(manager, body.set_id);
    const [copyId, jobId] = [newId('block'), newId('job')];
    const copy = {
      id: copyId,
      name: body.name ?? block.name,
      set_id: body.set_id ?? null,
      size: block.size,
      chunk_size: block.chunk_size,
      state: 'creating' as const,
      parent_block_id: null,
      source: { type: 'block', block_id: id },
      created_at: new Date(),
    };
    await manager.insert(BlockSchema, copy);
    await manager.insert(ReplicaSchema, {
      block_id: copyId,
      pool_id: target.id,
      state: 'creating',
      stored_bytes: 0,
      job_id: jobId,
      created_at: copy.created_at,
    });
    await submitJob(
      manager,
      {
        kind: 'copy',
        nodeId: route.nodeId,
        blockId: id,
        setId: block.set_id,
        params: {
          ...limited(body.bandwidth),
          meta: await metaOf(manager, copy),
          block: blockRef(block),
          from_pool_id: route.from.id,
          pool_id: target.id,
          new_block_id: copyId,
        },
        claims: [
          { resource: `block:${copyId}`, mode: 'exclusive' },
          ...readClaims(id, route.from.id),
          { resource: `pool:${target.id}`, mode: 'shared' },
        ],
        bytesTotal: block.size,
        priority: body.priority,
        tokenId: caller.tokenId,
        traceparent: caller.traceparent,
      },
      { jobId },
    );
    await manager.query('UPDATE jobs SET result_block_id = ? WHERE id = ?', [copyId, jobId]);
    await usablePool(manager, target.id); // under the lock that the claim took: it may have been deleted meanwhile
    return { status: 202, body: { 'block-id': copyId, 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}
