/**
 * A pool is accepted once a node has proved it: reserve (name, place and id, durable) → probe → confirm. A probe that
 * refuses takes the reservation back; a crash leaves it, and so does a node that did not answer, since it may have marked the place: the same
 * call again goes on with its id.
 */
import { TransientError } from '@openservice/domain';
import { type Node, type Pool, PoolSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { audit } from '../jobs/submit-job.ts';
import type { CreatePool } from '../routes/schemas/pools.ts';
import { type Answer, decide } from './answers.ts';
import type { Caller } from './caller.ts';
import { anyOnlineNode, workingNode } from './placement.ts';
import { placeOf } from './pool-place.ts';
import { explained } from './pool-refused.ts';
import { nameTaken, RESERVED, refuseSamePlace, reserve } from './pool-reservation.ts';
import { makesKey, rowOf } from './pool-row.ts';
import { specOf } from './pool-spec.ts';

const PROBE_LIMIT_MS = 30_000;

export async function createPool(deps: AppDeps, body: CreatePool, caller: Caller): Promise<Answer> {
  const { manager } = deps.database;
  // A remote pool's fields are looked at first: they say whether it is known here at all.
  const wanted = body.type === 'remote' ? await rowOf(manager, deps.secrets, body) : null;
  const node = await probingNode(deps.database, body);
  const adopt = 'id' in body ? body.id : undefined;
  const pool = await reserve(deps.database, wanted ?? (await rowOf(manager, deps.secrets, body)), {
    adopt,
    freshKey: makesKey(body),
  });
  try {
    // A pool that is taken over must be there: nothing is made.
    const request = { spec: specOf(pool, deps.secrets), create: adopt === undefined };
    const probe = await deps.nodes.call(node.id, 'pool_probe', request, { timeoutMs: PROBE_LIMIT_MS });
    return await decide(deps.database, async (inner) => {
      await refuseSamePlace(inner, pool);
      const confirmed = await inner.update(
        PoolSchema,
        { id: pool.id, ...RESERVED },
        { state: 'available', fencing: probe.fencing, capacity_bytes: probe.capacity_bytes },
      );
      if (confirmed.affected !== 1) throw nameTaken(pool.name);
      await audit(inner, caller.tokenId, 'pool.create', pool.id, {
        name: pool.name,
        type: pool.type,
        place: placeOf(pool),
        encrypted: pool.pool_key_sealed !== null,
        adopted: adopt !== undefined,
      });
      return { status: 201, body: { 'pool-id': pool.id } };
    });
  } catch (error) {
    if (!(error instanceof TransientError && error.code === 'node_unavailable')) await giveUp(deps, pool);
    throw await explained(manager, error, body, pool);
  }
}

function probingNode({ manager }: AppDeps['database'], body: CreatePool): Promise<Node> {
  return body.node_id === undefined ? anyOnlineNode(manager) : workingNode(manager, body.node_id);
}

async function giveUp(deps: AppDeps, pool: Pool): Promise<void> {
  try {
    await deps.database.getRepository(PoolSchema).delete({ id: pool.id, ...RESERVED });
  } catch (error) {
    deps.log.warn(
      { pool_id: pool.id, error: String(error) },
      'a reservation of a pool stays; the same call again goes on with it',
    );
  }
}
