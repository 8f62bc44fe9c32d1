/** Reading instances. One is asked of its node; a list shows what the center knows. */
import { OpenServiceError } from '@openservice/domain';
import type { InstanceReport } from '@openservice/protocol';
import {
  type CdmInstance,
  CdmInstanceDiskSchema,
  CdmInstanceSchema,
  type CdmInstanceState,
  type DataSource,
  NodeSchema,
} from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import type { Answer } from './answers.ts';
import { commandsOf } from './instance-commands.ts';
import { disksOf, findInstance } from './instance-rows.ts';
import { instanceView } from './instance-view.ts';
import { containing, type PageRequest, page } from './paging.ts';

/** A node that does not answer must not keep the caller waiting. */
const STAT_MS = 500;

export interface InstanceFilters {
  filter?: string | undefined;
  node_id?: string | undefined;
  state?: CdmInstanceState | undefined;
  block_id?: string | undefined;
  set_id?: string | undefined;
}

export async function listInstances(database: DataSource, request: PageRequest & InstanceFilters): Promise<Answer> {
  const instances = database.getRepository(CdmInstanceSchema);
  const query = instances.createQueryBuilder('t').where('1 = 1');
  if (request.filter !== undefined) query.andWhere('LOWER(t.name) LIKE LOWER(:part)', { part: containing(request.filter) });
  for (const column of ['node_id', 'state', 'set_id'] as const) {
    if (request[column] !== undefined) query.andWhere(`t.${column} = :${column}`, { [column]: request[column] });
  }
  if (request.block_id !== undefined) {
    const ofBlock = query
      .subQuery()
      .select('1')
      .from(CdmInstanceDiskSchema, 'd')
      .where('d.instance_id = t.id AND d.block_id = :blockId')
      .getQuery();
    query.andWhere(`EXISTS ${ofBlock}`, { blockId: request.block_id });
  }
  const { rows, nextMarker } = await page(query, request, (id) => instances.findOneBy({ id }));
  const disks = await disksOf(
    database.manager,
    rows.map((row) => row.id),
  );
  const byInstance = Map.groupBy(disks, (disk) => disk.instance_id);
  const endpoints = await endpointsOf(database, rows);
  return {
    status: 200,
    body: {
      cdm_instances: rows.map((row) => instanceView(row, byInstance.get(row.id) ?? [], endpoints.get(row.node_id) ?? null, null)),
      next_marker: nextMarker,
    },
  };
}

async function endpointsOf(database: DataSource, instances: readonly CdmInstance[]): Promise<Map<string, string | null>> {
  const ids = [...new Set(instances.map((instance) => instance.node_id))];
  if (ids.length === 0) return new Map();
  const nodes = await database.getRepository(NodeSchema).createQueryBuilder('n').where('n.id IN (:...ids)', { ids }).getMany();
  return new Map(nodes.map((node) => [node.id, node.nbd_endpoint]));
}

export async function getInstance(deps: Pick<AppDeps, 'database' | 'nodes'>, id: string): Promise<Answer> {
  const { manager } = deps.database;
  const instance = await findInstance(manager, id);
  const report = instance.state === 'loading' ? null : await askNode(deps, instance);
  const endpoints = await endpointsOf(deps.database, [instance]);
  const view = instanceView(instance, await disksOf(manager, [id]), endpoints.get(instance.node_id) ?? null, report);
  return { status: 200, body: { cdm_instance: { ...view, commands: commandsOf(view) } } };
}

/** Null where the node is away, slow, or does not know it: what the center knows is shown then. */
async function askNode({ nodes }: Pick<AppDeps, 'nodes'>, instance: CdmInstance): Promise<InstanceReport | null> {
  try {
    return await nodes.call(instance.node_id, 'instance_stat', { instance_id: instance.id }, { timeoutMs: STAT_MS });
  } catch (error) {
    if (error instanceof OpenServiceError) return null;
    throw error;
  }
}
