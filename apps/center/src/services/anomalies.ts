/** Anomalies: reading them, and putting one aside that a person has seen. */
import { type Anomaly, AnomalySchema } from '@openservice/store';
import { compareAllSoon } from '../anomalies/comparison-schedule.ts';
import type { AppDeps } from '../http/deps.ts';
import { NOW } from '../jobs/clock.ts';
import { audit } from '../jobs/submit-job.ts';
import type { ListAnomalies } from '../routes/schemas/anomalies.ts';
import { type Answer, decide } from './answers.ts';
import type { Caller } from './caller.ts';
import { findPool } from './lookups.ts';
import { notFound } from './refusal.ts';

export async function listAnomalies({ database }: AppDeps, request: ListAnomalies): Promise<Answer> {
  const query = database.getRepository(AnomalySchema).createQueryBuilder('t');
  query.where(request.dismissed === true ? 't.dismissed_at IS NOT NULL' : 't.dismissed_at IS NULL');
  if (request.kind !== undefined) query.andWhere('t.kind = :kind', { kind: request.kind });
  if (request.marker !== undefined) query.andWhere('t.id > :marker', { marker: request.marker });
  const rows = await query
    .orderBy('t.id', 'ASC')
    .limit(request.limit + 1)
    .getMany();
  const more = rows.length > request.limit;
  if (more) rows.pop();
  return { status: 200, body: { anomalies: rows.map(anomalyView), next_marker: more ? rows.at(-1)!.id : null } };
}

/** It is not listed any more, until it has healed and comes again. */
export function dismissAnomaly(deps: AppDeps, id: string, caller: Caller): Promise<Answer> {
  return decide(deps.database, async (manager) => {
    const found = await manager.findOneBy(AnomalySchema, { id });
    if (found === null) throw notFound('anomaly', id);
    await manager.query(`UPDATE anomalies SET dismissed_at = COALESCE(dismissed_at, ${NOW}) WHERE id = ?`, [id]);
    await audit(manager, caller.tokenId, 'anomaly.dismiss', id, { kind: found.kind, resource: found.resource });
    return { status: 200, body: { 'anomaly-id': id } };
  });
}

/** Pools are compared as soon as a center has time, not at their next turn. */
export function compareNow(deps: AppDeps, poolId: string | undefined, caller: Caller): Promise<Answer> {
  return decide(deps.database, async (manager) => {
    if (poolId !== undefined) await findPool(manager, poolId);
    await compareAllSoon(manager, poolId);
    await audit(manager, caller.tokenId, 'pool.compare', poolId ?? 'all', {});
    return { status: 200, body: { pool_id: poolId ?? null } };
  });
}

function anomalyView(anomaly: Anomaly) {
  const { id, kind, resource, detail, remedy } = anomaly;
  const [since, seen_at] = [anomaly.since.toISOString(), anomaly.seen_at.toISOString()];
  return { id, kind, resource, detail, remedy, since, seen_at, dismissed_at: anomaly.dismissed_at?.toISOString() ?? null };
}
