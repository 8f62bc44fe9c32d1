/** A block comes back: into a pool, or to a file of a node. */
import { newId } from '@openservice/domain';
import type { Block, DataSource } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import type { RestoreBlock } from '../routes/schemas/restore-block.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { findBlock, mustBeAvailable, usablePool } from './lookups.ts';
import { nodeOfPool, workingNode } from './placement.ts';
import { blockRef, chooseFor, readable } from './read-from.ts';
import { invalidRequest, Refusal } from './refusal.ts';
import { routeInto, submitReplica } from './replicate.ts';

const PROBE_LIMIT_MS = 10_000;

export async function restoreBlock(deps: AppDeps, id: string, body: RestoreBlock, caller: Caller): Promise<Answer> {
  const answer =
    body.pool_id === undefined
      ? await restoreToFile(deps, id, body, caller)
      : await restoreToPool(deps, id, body.pool_id, body, caller);
  deps.relay.poke();
  return answer;
}

function restoreToPool(deps: AppDeps, id: string, poolId: string, body: RestoreBlock, caller: Caller): Promise<Answer> {
  return decide(deps.database, async (manager) => {
    const block = await findBlock(manager, id, { lock: true });
    mustBeAvailable(block);
    const target = await usablePool(manager, poolId);
    const route = await routeInto(manager, block, target, body.from_pool_id);
    const jobId = await submitReplica(manager, 'restore', block, target, route, caller);
    return { status: 202, body: { 'block-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
}

async function restoreToFile(deps: AppDeps, id: string, body: RestoreBlock, caller: Caller): Promise<Answer> {
  if (body.target?.type !== 'file') {
    throw new Refusal(
      'target_type_not_supported',
      `Targets of type ${body.target?.type} arrive with a later version; supported: file, or pool_id.`,
      {
        errors: [{ path: 'target.type', message: 'supported: file' }],
      },
    );
  }
  const { path } = body.target;
  const seen = await findBlock(deps.database.manager, id);
  mustBeAvailable(seen);
  const nodeId = body.target.node_id ?? (await nodeOfReplica(deps.database, seen, body.from_pool_id));
  await workingNode(deps.database.manager, nodeId);
  await deps.nodes.call(
    nodeId,
    'target_probe',
    { target: { type: 'file', path }, size: seen.size },
    { timeoutMs: PROBE_LIMIT_MS },
  );

  return decide(deps.database, async (manager) => {
    const block = await findBlock(manager, id, { lock: true });
    mustBeAvailable(block);
    const from = chooseFor(nodeId, await readable(manager, block, body.from_pool_id), block);
    const jobId = newId('job');
    await submitJob(
      manager,
      {
        kind: 'restore',
        nodeId,
        blockId: id,
        setId: block.set_id,
        params: { block: blockRef(block), from_pool_id: from.id, target: { type: 'file', node_id: nodeId, path } },
        claims: [
          { resource: `block:${id}`, mode: 'shared' },
          { resource: `pool:${from.id}`, mode: 'shared' },
        ],
        bytesTotal: block.size,
        tokenId: caller.tokenId,
        traceparent: caller.traceparent,
      },
      { jobId },
    );
    return { status: 202, body: { 'block-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
}

/** Left out, the node is that of the replica to read, where it has one. */
async function nodeOfReplica(database: DataSource, block: Block, fromPoolId: string | undefined): Promise<string> {
  const bound = (await readable(database.manager, block, fromPoolId)).map(nodeOfPool).find((node) => node !== null);
  if (bound === undefined || bound === null) {
    throw invalidRequest([{ path: 'target.node_id', message: 'is required: the replicas of this block belong to no node' }]);
  }
  return bound;
}
