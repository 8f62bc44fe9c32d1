/** Sets: blocks that belong together. */
import { newId } from '@openservice/domain';
import { BlockSchema, BlockSetSchema, type DataSource } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { audit } from '../jobs/submit-job.ts';
import type { CreateSet } from '../routes/schemas/sets.ts';
import { type Answer, decide } from './answers.ts';
import { withReplicas } from './blocks.ts';
import type { Caller } from './caller.ts';
import { findSet, replicasOf } from './lookups.ts';
import { containing, type PageRequest, page } from './paging.ts';
import { IN_TRASH_SQL } from './set-membership.ts';
import { setView } from './views.ts';

/** Blocks shown with a set; the rest with `GET /blocks?set_id=`. */
const SHOWN_BLOCKS = 1000;

export async function listSets(database: DataSource, request: PageRequest & { filter?: string | undefined }): Promise<Answer> {
  const sets = database.getRepository(BlockSetSchema);
  const query = sets.createQueryBuilder('t').where('1 = 1');
  if (request.filter !== undefined) query.andWhere('LOWER(t.name) LIKE LOWER(:part)', { part: containing(request.filter) });
  const { rows, nextMarker } = await page(query, request, (id) => sets.findOneBy({ id }));
  return { status: 200, body: { sets: rows.map(setView), next_marker: nextMarker } };
}

export async function getSet(database: DataSource, id: string): Promise<Answer> {
  const set = await findSet(database.manager, id);
  const blocks = await database.manager
    .createQueryBuilder(BlockSchema, 'blocks')
    .where(`blocks.set_id = :id AND NOT ${IN_TRASH_SQL}`, { id })
    .orderBy('blocks.id')
    .limit(SHOWN_BLOCKS + 1)
    .getMany();
  const shown = blocks.slice(0, SHOWN_BLOCKS);
  const replicas = await replicasOf(
    database.manager,
    shown.map((block) => block.id),
  );
  return {
    status: 200,
    body: { set: { ...setView(set), blocks: withReplicas(shown, replicas), blocks_truncated: blocks.length > SHOWN_BLOCKS } },
  };
}

export function createSet(deps: AppDeps, body: CreateSet, caller: Caller): Promise<Answer> {
  return decide(deps.database, async (manager) => {
    const id = newId('set');
    await manager.insert(BlockSetSchema, { id, ...body, block_count: 0, created_at: new Date() });
    await audit(manager, caller.tokenId, 'set.create', id, { name: body.name });
    return { status: 201, body: { 'set-id': id } };
  });
}
