/**
 * An empty set goes at once. With cascade, every block of it gets its delete job in one transaction, or none does; the set
 * goes at once and the jobs keep its id. A block whose deletion fails stays, without a set, and says why.
 */
import { BlockSchema, BlockSetSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { audit } from '../jobs/submit-job.ts';
import { type Answer, decide } from './answers.ts';
import { type Caller, mayActAs } from './caller.ts';
import { submitDelete } from './delete-block.ts';
import { findSet } from './lookups.ts';
import { Refusal } from './refusal.ts';

/** More would hold too many locks at once. */
const MOST_BLOCKS = 1000;

export async function deleteSet(deps: AppDeps, id: string, cascade: boolean, caller: Caller): Promise<Answer> {
  if (cascade && !mayActAs(caller, 'admin')) {
    throw new Refusal('forbidden', `cascade=true needs the role admin; the token has the role ${caller.role}.`);
  }
  const answer = await decide(deps.database, async (manager): Promise<Answer> => {
    await findSet(manager, id, { lock: true });
    const blocks = await manager.find(BlockSchema, { where: { set_id: id }, order: { id: 'ASC' }, take: MOST_BLOCKS + 1 });
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
    for (const block of blocks) {
      if (block.state === 'deleting') continue;
      const jobId = await submitDelete(manager, block.id, caller);
      if (jobId !== null) jobIds.push(jobId);
    }
    await manager.update(BlockSchema, { set_id: id }, { set_id: null });
    await manager.delete(BlockSetSchema, { id });
    await audit(manager, caller.tokenId, 'set.delete', id, { cascade, jobs: jobIds.length });
    const body = { 'set-id': id, 'job-ids': jobIds };
    if (jobIds.length === 0) return { status: 200, body };
    return { status: 202, body, location: `/openstore_v1/jobs?set_id=${id}&kind=delete` };
  });
  deps.relay.poke();
  return answer;
}
