/** A block from a file of a node: looked at by the node first, then imported by a job. */
import { DEFAULT_CHUNK_SIZE, MAX_BLOCK_SIZE, newId } from '@openservice/domain';
import { BlockSchema, ReplicaSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import type { CreateBlock } from '../routes/schemas/create-block.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { findSet, usablePool } from './lookups.ts';
import { nodeOfPool, workingNode } from './placement.ts';
import { invalidRequest, Refusal } from './refusal.ts';

const PROBE_LIMIT_MS = 10_000;

export async function createBlock(deps: AppDeps, body: CreateBlock, caller: Caller): Promise<Answer> {
  const source = fileSource(body);
  const pool = await usablePool(deps.database.manager, body.pool_id);
  if (body.set_id !== undefined) await findSet(deps.database.manager, body.set_id);
  const bound = nodeOfPool(pool);
  const nodeId = source.node_id ?? bound;
  if (nodeId === null)
    throw invalidRequest([{ path: 'source.node_id', message: `is required: pool ${pool.id} belongs to no node` }]);
  if (bound !== null && bound !== nodeId) {
    throw invalidRequest([
      {
        path: 'source.node_id',
        message: `pool ${pool.id} is on node ${bound}; import there, or into a pool that node ${nodeId} reaches`,
      },
    ]);
  }
  await workingNode(deps.database.manager, nodeId);
  const { size } = await deps.nodes.call(
    nodeId,
    'source_probe',
    { source: { type: 'file', path: source.path } },
    { timeoutMs: PROBE_LIMIT_MS },
  );
  checkSize(size, body.size);

  const answer = await decide(deps.database, async (manager) => {
    const blockId = newId('block');
    const jobId = newId('job');
    const now = new Date();
    const file = { type: 'file' as const, node_id: nodeId, path: source.path };
    if (body.set_id !== undefined) {
      const set = await findSet(manager, body.set_id, { lock: true });
      await manager.query('UPDATE sets SET block_count = block_count + 1 WHERE id = ?', [set.id]);
    }
    await manager.insert(BlockSchema, {
      id: blockId,
      name: body.name,
      set_id: body.set_id ?? null,
      size,
      chunk_size: DEFAULT_CHUNK_SIZE,
      state: 'creating',
      source: file,
      created_at: now,
    });
    await manager.insert(ReplicaSchema, {
      block_id: blockId,
      pool_id: pool.id,
      state: 'creating',
      stored_bytes: 0,
      job_id: jobId,
      created_at: now,
    });
    await submitJob(
      manager,
      {
        kind: 'import',
        nodeId,
        blockId,
        setId: body.set_id ?? null,
        params: { block_id: blockId, size, chunk_size: DEFAULT_CHUNK_SIZE, pool_id: pool.id, source: file },
        claims: [
          { resource: `block:${blockId}`, mode: 'exclusive' },
          { resource: `pool:${pool.id}`, mode: 'shared' },
        ],
        bytesTotal: size,
        tokenId: caller.tokenId,
        traceparent: caller.traceparent,
      },
      { jobId },
    );
    await usablePool(manager, pool.id); // under the lock that the claim took
    return { status: 202, body: { 'block-id': blockId, 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}

function fileSource(body: CreateBlock): { node_id?: string | undefined; path: string } {
  if (body.source === undefined) {
    throw new Refusal(
      'source_required',
      'A block is made from a source: give source {"type":"file","path":…}; for an empty disk, import an empty sparse file (truncate -s SIZE FILE).',
      {
        errors: [{ path: 'source', message: 'is required' }],
      },
    );
  }
  if (body.source.type !== 'file') {
    throw new Refusal(
      'source_type_not_supported',
      `Sources of type ${body.source.type} arrive with a later version; supported: file.`,
      {
        errors: [{ path: 'source.type', message: 'supported: file' }],
      },
    );
  }
  return body.source;
}

function checkSize(found: number, expected: number | undefined): void {
  if (found === 0) throw new Refusal('source_empty', 'The source file has no bytes; a disk has one at least.');
  if (found > MAX_BLOCK_SIZE) throw new Refusal('source_too_large', `The source has ${found} bytes; a disk has 64 TiB at most.`);
  if (expected === undefined || expected === found) return;
  throw new Refusal(
    'source_size_differs',
    `The source has ${found} bytes, not ${expected}; leave size out, or see that it is the right file.`,
    {
      errors: [{ path: 'size', message: `the source has ${found} bytes` }],
    },
  );
}
