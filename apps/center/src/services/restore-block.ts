/** A block comes back: into a pool, to a file or block device of a node, or to an NBD server. */
import { newId } from '@openservice/domain';
import type { JobParams } from '@openservice/protocol';
import type { NodeRequest } from '@openservice/runtime';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import type { RestoreBlock } from '../routes/schemas/restore-block.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { findBlock, mustBeAvailable, usablePool } from './lookups.ts';
import { chooseNode, nodeOfPool } from './placement.ts';
import { probed } from './probed-place.ts';
import { bestSource, blockRef, readable, readClaims } from './read-from.ts';
import { invalidRequest, Refusal } from './refusal.ts';
import { limited, routeInto, submitReplica } from './replicate.ts';

const PROBE_LIMIT_MS = 10_000;

type Target = Exclude<NonNullable<RestoreBlock['target']>, { type: 'source' }>;

export async function restoreBlock(deps: AppDeps, id: string, body: RestoreBlock, caller: Caller): Promise<Answer> {
  const answer =
    body.pool_id === undefined
      ? await restoreOut(deps, id, targetOf(body), body, caller)
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
    const jobId = await submitReplica(
      manager,
      'restore',
      { block, target, route, bandwidth: body.bandwidth, priority: body.priority },
      caller,
    );
    return { status: 202, body: { 'block-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
}

async function restoreOut(deps: AppDeps, id: string, target: Target, body: RestoreBlock, caller: Caller): Promise<Answer> {
  const { manager: reader } = deps.database;
  const seen = await findBlock(reader, id);
  mustBeAvailable(seen);
  const pools = await readable(reader, seen, body.from_pool_id);
  const near = pools.filter((pool) => nodeOfPool(pool) !== null);
  if (target.type === 'file' && target.node_id === undefined && near.length === 0) {
    throw invalidRequest([{ path: 'target.node_id', message: 'is required: the replicas of this block belong to no node' }]);
  }
  const { id: nodeId } = await chooseNode(reader, target.node_id, target.type === 'file' ? near : pools);
  const delta = body.delta ?? false;
  const probe = { target: probeOf(target), size: seen.size, delta };
  const look = deps.nodes.call(nodeId, 'target_probe', probe, { timeoutMs: PROBE_LIMIT_MS });
  await probed(target.type === 'file' ? 'target.path' : 'target.uri', nodeId, look);

  return decide(deps.database, async (manager) => {
    const block = await findBlock(manager, id, { lock: true });
    mustBeAvailable(block);
    const from = await bestSource(manager, block, await readable(manager, block, body.from_pool_id), nodeId);
    const jobId = newId('job');
    await submitJob(
      manager,
      {
        kind: 'restore',
        nodeId,
        blockId: id,
        setId: block.set_id,
        params: {
          ...limited(body.bandwidth),
          block: blockRef(block),
          from_pool_id: from.id,
          target: refOf(target, nodeId),
          delta,
        },
        claims: readClaims(id, from.id),
        bytesTotal: block.size,
        priority: body.priority,
        tokenId: caller.tokenId,
        traceparent: caller.traceparent,
      },
      { jobId },
    );
    return { status: 202, body: { 'block-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
}

function targetOf(body: RestoreBlock): Target {
  if (body.target !== undefined && body.target.type !== 'source') return body.target;
  throw new Refusal(
    'target_type_not_supported',
    'Targets of type source arrive with a later version; supported: file, nbd, or pool_id.',
    {
      errors: [{ path: 'target.type', message: 'supported: file, nbd' }],
    },
  );
}

function probeOf(target: Target): NodeRequest<'target_probe'>['target'] {
  return target.type === 'file' ? { type: 'file', path: target.path } : { type: 'nbd', uri: target.uri };
}

function refOf(target: Target, nodeId: string): JobParams['restore']['target'] {
  return target.type === 'file' ? { type: 'file', node_id: nodeId, path: target.path } : { type: 'nbd', uri: target.uri };
}
