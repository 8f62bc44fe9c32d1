/** Every half minute: what MySQL alone shows to be wrong, and one pool after the other that is due to be compared. */
import { OpenServiceError } from '@openservice/domain';
import { Periodic } from '@openservice/runtime';
import { alone, type DataSource, inTransaction, isDatabaseAway } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { comparePool } from './compare-pool.ts';
import { compared, takeDue } from './comparison-schedule.ts';
import { expireFound, type Found, replaceFound } from './report.ts';

const EVERY_MS = 15_000;
const LOOK_EVERY = 2;

export type LookDeps = Pick<AppDeps, 'database' | 'nodes' | 'log'>;

export class AnomalyLook extends Periodic {
  readonly #deps: LookDeps;
  #passes = 0;

  constructor(deps: LookDeps, everyMs = EVERY_MS) {
    super('anomalies', everyMs);
    this.#deps = deps;
  }

  async pass(): Promise<void> {
    const { database } = this.#deps;
    if (this.#passes++ % LOOK_EVERY === 0) await alone(database, 'anomalies', () => lookAtDatabase(database));
    while (!this.stopping.aborted) if (!(await this.#compareNext())) return;
  }

  /** False when nothing was due, or what was could not be compared. */
  async #compareNext(): Promise<boolean> {
    const { database, log } = this.#deps;
    const pool = await takeDue(database);
    if (pool === null) return false;
    try {
      const found = await comparePool(this.#deps, pool, this.stopping);
      await compared(database, pool, true);
      if (found > 0) log.warn({ pool_id: pool, found }, 'A pool and the center disagree; see GET /anomalies.');
      return true;
    } catch (error) {
      await compared(database, pool, false);
      if (!(error instanceof OpenServiceError)) throw error;
      // Its node or its storage is away: that is seen elsewhere.
      log.info({ pool_id: pool, why: error.message }, 'A pool could not be compared; it is tried again.');
      return false;
    }
  }

  protected onError(error: unknown): void {
    if (!isDatabaseAway(error)) this.#deps.log.error({ err: error }, 'The look for anomalies failed; it is tried again.');
  }
}

export async function lookAtDatabase(database: DataSource): Promise<void> {
  const found = [...(await deadLetters(database)), ...(await failingWebhooks(database)), ...(await lostInstances(database))];
  const gone = await deletedPools(database);
  await inTransaction(database, async (manager) => {
    await replaceFound(manager, 'database', found);
    for (const scope of gone) await replaceFound(manager, scope, []);
    await expireFound(manager);
  });
}

/** Scopes of pools that are not there any more, and that nobody looks at. */
async function deletedPools(database: DataSource): Promise<string[]> {
  const rows = await database.query<{ scope: string }[]>(
    `SELECT DISTINCT a.scope FROM anomalies a LEFT JOIN pools t ON a.scope = CONCAT('pool:', t.id) WHERE a.scope LIKE 'pool:%' AND t.id IS NULL`,
  );
  return rows.map(({ scope }) => scope);
}

async function deadLetters(database: DataSource): Promise<Found[]> {
  const [row] = await database.query<{ n: string | number }[]>(
    "SELECT COUNT(*) AS n FROM dead_letters WHERE outcome IS NULL OR outcome = 'refused'",
  );
  const count = Number(row?.n ?? 0);
  if (count === 0) return [];
  return [
    {
      kind: 'dead_letters',
      resource: 'dead_letters:all',
      detail: `${count} messages of nodes could not be used by any center.`,
      remedy: 'See why with GET /dead_letters; then POST /dead_letters/{id}?action=redrive, or DELETE /dead_letters/{id}.',
    },
  ];
}

async function failingWebhooks(database: DataSource): Promise<Found[]> {
  const rows = await database.query<
    { id: string; name: string; state: string; error_message: string | null; failed: string | number }[]
  >(
    `SELECT w.id, w.name, w.state, w.error_message, (SELECT COUNT(*) FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.state = 'failed') AS failed
     FROM webhooks w HAVING state = 'failing' OR failed > 0 ORDER BY id`,
  );
  return rows.map(({ id, name, error_message, failed }) => ({
    kind: 'webhook_failing',
    resource: `webhook:${id}`,
    detail: `Webhook "${name}" is not delivered: ${Number(failed)} deliveries have failed. ${error_message ?? ''}`.trim(),
    remedy: `See GET /webhooks/${id}/deliveries?state=failed; when the receiver is well, POST /webhooks/${id}/deliveries?action=redrive, or DELETE /webhooks/${id}.`,
  }));
}

async function lostInstances(database: DataSource): Promise<Found[]> {
  const rows = await database.query<{ id: string; node_id: string; error_message: string | null }[]>(
    "SELECT id, node_id, error_message FROM cdm_instances WHERE state = 'error' AND error_code = 'instance_lost' ORDER BY id",
  );
  return rows.map(({ id, node_id, error_message }) => ({
    kind: 'lost_instance',
    resource: `node:${node_id}/instance:${id}`,
    detail: error_message ?? `Node ${node_id} does not hold instance ${id} any more.`,
    remedy: `Bring the node's data directory back and restart it, or DELETE /cdm_instances/${id} and load the block again.`,
  }));
}
