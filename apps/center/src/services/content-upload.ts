/**
 * A client sends a block's content, in pieces or whole. The node that took the first byte keeps all of it until the last one is there; then
 * the import begins. The offset is asked for before each piece: an answer that was lost is found again by sending the same once more.
 */
import { newId } from '@openservice/domain';
import type { Block, DataSource, EntityManager } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { fromNow } from '../jobs/clock.ts';
import { poolTokens } from '../pool-tokens.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import type { ContentServer } from './content-server.ts';
import { contentOffset, offsetMismatch, type Piece, sendContent } from './content-transfer.ts';
import { submitImport } from './create-block.ts';
import { findBlock, findNode, replicasOf, usablePool } from './lookups.ts';
import { type Parent, parentRef } from './parent-block.ts';
import { poolEndpointOf } from './pool-endpoint.ts';
import { Refusal } from './refusal.ts';

/** While bytes come, the block is not given up. */
const KEEP_EVERY_MS = 60_000;

/** Takes what `body` opens; `piece` says what of the content it is, once the block's size is known. 202 with the job once all is there, else 200 with the offset. */
export async function putContent(
  deps: AppDeps,
  id: string,
  { pieceOf, priority }: { pieceOf: (size: number) => Piece; priority?: number | undefined },
  body: () => ReadableStream<Uint8Array>,
  caller: Caller,
): Promise<Answer> {
  const block = await findBlock(deps.database.manager, id);
  const started = await importOf(deps.database.manager, block);
  if (started !== null) return accepted(id, started);
  mustWait(block);
  const piece = pieceOf(block.size);
  const server = await serverOf(deps, block);
  let offset = await contentOffset(server, id);
  if (offset < block.size) {
    if (piece.offset !== offset) throw offsetMismatch(id, piece.offset, offset);
    offset = await keeping(deps, id, () => sendContent(server, id, piece, body()));
  }
  if (offset < block.size) return { status: 200, body: { 'block-id': id, offset } };
  return beginImport(deps, id, priority, caller);
}

/** Bytes of the content that are safe. */
export async function headContent(deps: AppDeps, id: string): Promise<number> {
  const block = await findBlock(deps.database.manager, id);
  if ((await importOf(deps.database.manager, block)) !== null) return block.size;
  mustWait(block);
  return contentOffset(await serverOf(deps, block), id);
}

function accepted(id: string, jobId: string): Answer {
  return { status: 202, body: { 'block-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
}

async function beginImport(deps: AppDeps, id: string, priority: number | undefined, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const block = await findBlock(manager, id, { lock: true });
    const started = await importOf(manager, block);
    if (started !== null) return accepted(id, started);
    const nodeId = mustWait(block);
    const [replica] = await replicasOf(manager, [id]);
    if (replica === undefined) throw new Refusal('pool_not_available', `The pool that block ${id} was to go to is gone.`);
    const jobId = newId('job');
    await manager.query('UPDATE replicas SET job_id = ? WHERE block_id = ?', [jobId, id]);
    await manager.query('UPDATE blocks SET purge_at = NULL WHERE id = ?', [id]);
    const seen = { nodeId, size: block.size, ref: { type: 'content' as const, node_id: nodeId } };
    const parent = await parentIfThere(manager, block, replica.pool_id, nodeId);
    await submitImport(manager, { block, target: { id: replica.pool_id }, seen, parent, extents: null, priority }, jobId, caller);
    await usablePool(manager, replica.pool_id); // under the lock that the claim took
    return accepted(id, jobId);
  });
  deps.relay.poke();
  return answer;
}

/** Only a hint here, where all is read: one that has gone since is done without. */
async function parentIfThere(manager: EntityManager, block: Block, poolId: string, nodeId: string): Promise<Parent | null> {
  try {
    return await parentRef(manager, block.parent_block_id, poolId, nodeId);
  } catch (error) {
    if (error instanceof Refusal) return null;
    throw error;
  }
}

/** The job that imports what was sent, once there is one. */
async function importOf(manager: EntityManager, block: Block): Promise<string | null> {
  if (block.source?.type !== 'content') return null;
  const [job] = await manager.query<{ id: string }[]>(
    "SELECT id FROM jobs WHERE block_id = ? AND kind = 'import' ORDER BY id DESC LIMIT 1",
    [block.id],
  );
  return job?.id ?? null;
}

/** The node that takes the content. */
function mustWait(block: Block): string {
  if (block.state === 'creating' && block.content_node_id !== null) return block.content_node_id;
  const why = block.error_message === null ? '' : ` (${block.error_message})`;
  throw new Refusal(
    'content_not_expected',
    `Block ${block.id} is ${block.state}${why} and waits for no content; create one with PUT /openstore_v1/blocks and a size.`,
  );
}

async function serverOf(deps: AppDeps, block: Block): Promise<ContentServer> {
  const node = await findNode(deps.database.manager, mustWait(block));
  const endpoint = poolEndpointOf(node);
  if (endpoint === null) {
    throw new Refusal(
      'node_without_pool_server',
      `Node ${node.id} runs no pool server, which takes what clients send; see its settings.`,
    );
  }
  const { token } = poolTokens(deps.secrets).sign({ pool: 'content', block: block.id, right: 'write' });
  return { ...endpoint, nodeId: node.id, fingerprint: node.pool_fingerprint, token };
}

async function keeping<T>(deps: AppDeps, id: string, work: () => Promise<T>): Promise<T> {
  await keep(deps.database, id, deps.contentMs);
  const timer = setInterval(() => {
    keep(deps.database, id, deps.contentMs).catch((error: unknown) => {
      deps.log.warn({ block_id: id, why: String(error) }, 'could not note that content still comes; the next minute tries again');
    });
  }, KEEP_EVERY_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

async function keep(database: DataSource, id: string, ms: number): Promise<void> {
  await database.query(
    `UPDATE blocks SET purge_at = ${fromNow(ms)} WHERE id = ? AND state = 'creating' AND content_node_id IS NOT NULL AND purge_at IS NOT NULL`,
    [id],
  );
}
