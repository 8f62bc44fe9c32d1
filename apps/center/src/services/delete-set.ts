/**
 * A set without blocks goes at once; what it has in the trash stays there, without a set. With cascade, every block of it gets its delete
 * job (into the trash) in one transaction, or none does; the set goes at once and the jobs keep its id. A block whose deletion fails stays,
 * without a set, and says why.
 */
import { type Block, BlockSchema, BlockSetSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { audit } from '../jobs/submit-job.ts';
import { type Answer, decide } from './answers.ts';
import { type Caller, mayActAs } from './caller.ts';
import { dropContent } from './content-drop.ts';
import { submitDelete } from './delete-block.ts';
import { findSet } from './lookups.ts';
import { Refusal } from './refusal.ts';
import { IN_TRASH_SQL } from './set-membership.ts';

/** More would hold too many locks at once. */
const MOST_BLOCKS = 1000;

export async function deleteSet(
  deps: AppDeps,
  id: string,
  { cascade, priority }: { cascade: boolean; priority?: number | undefined },
  caller: Caller,
): Promise<Answer> {
  if (cascade && !mayActAs(caller, 'admin')) {
    throw new Refusal('forbidden', `cascade=true needs the role admin; the token has the role ${caller.role}.`);
  }
  let dropped: string[] = [];
  const answer = await decide(deps.database, async (manager): Promise<Answer> => {
    dropped = [];
    await findSet(manager, id, { lock: true });
    const blocks = await manager.query<Pick<Block, 'id' | 'state'>[]>(
      `SELECT id, state FROM blocks WHERE set_id = ? AND NOT ${IN_TRASH_SQL} ORDER BY id LIMIT ${MOST_BLOCKS + 1}`,
      [id],
    );
    if (blocks.length > 0 && !cascade) {
      throw new Refusal(
        'set_not_empty',
        `Set ${id} has blocks; delete them first, or repeat with cascade=true to delete them with it.`,
        {
          block_count: blocks.length,
        },
      );
    }
    if (blocks.length > MOST_BLOCKS) {
      throw new Refusal('set_too_large', `Set ${id} has more than ${MOST_BLOCKS} blocks; delete some of them first.`);
    }
    const jobIds: string[] = [];
    for (const { id: blockId, state } of blocks) {
      if (state === 'deleting') continue;
      const jobId = await submitDelete(manager, blockId, deps, { ...caller, priority });
      if (jobId === null) dropped.push(blockId);
      else jobIds.push(jobId);
    }
    await manager.update(BlockSchema, { set_id: id }, { set_id: null });
    await manager.delete(BlockSetSchema, { id });
    await audit(manager, caller.tokenId, 'set.delete', id, { cascade, jobs: jobIds.length });
    const body = { 'set-id': id, 'job-ids': jobIds };
    if (jobIds.length === 0) return { status: 200, body };
    return { status: 202, body, location: `/openstore_v1/jobs?set_id=${id}&kind=delete` };
  });
  deps.relay.poke();
  for (const blockId of dropped) await dropContent(deps, blockId);
  return answer;
}
