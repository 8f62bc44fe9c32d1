/**
 * Nodes that are being drained. What has not left for them goes elsewhere; what they have they are told to give back at its next checkpoint
 * (`yielded`), if another node can do it; the rest ends there. A node that has nothing left is drained.
 */
import type { JobState } from '@openservice/domain';
import { type DataSource, type EntityManager, inTransaction, type Job } from '@openservice/store';
import { closeCommands, command, neverLeft } from '../jobs/attempts.ts';
import { isDraining, moveAway } from '../jobs/move-away.ts';
import { addHistory, lockJob } from '../jobs/transition.ts';
import { otherNode } from '../services/other-node.ts';

const MOST_A_PASS = 200;
/** States in which a job can leave; later ones end where they are. */
const LEAVES: readonly JobState[] = ['queued', 'dispatched', 'accepted', 'running', 'paused'];
const LEAVES_SQL = LEAVES.map((state) => `'${state}'`).join(', ');
const ENDED = "'succeeded', 'failed', 'cancelled'";

export class Drains {
  readonly #database: DataSource;
  /** Of each node: up to where its jobs were looked at. */
  readonly #seen = new Map<string, string>();

  constructor(database: DataSource) {
    this.#database = database;
  }

  /** True when commands were written for the relay. */
  async pass(): Promise<boolean> {
    const nodes = await this.#database.query<{ id: string }[]>("SELECT id FROM nodes WHERE state IN ('draining', 'drained')");
    let written = false;
    for (const { id } of nodes) written = (await this.empty(id)) || written;
    if (nodes.length > 0) await markDrained(this.#database);
    return written;
  }

  /** One step of a node that is being drained. True when commands were written for the relay. */
  async empty(nodeId: string): Promise<boolean> {
    const jobs = await this.#database.query<{ id: string }[]>(
      `SELECT id FROM jobs WHERE node_id = ? AND state IN (${LEAVES_SQL}) AND id > ? ORDER BY id LIMIT ${MOST_A_PASS}`,
      [nodeId, this.#seen.get(nodeId) ?? ''],
    );
    let written = false;
    for (const { id } of jobs) written = (await askToLeave(this.#database, id, nodeId)) || written;
    const last = jobs.length < MOST_A_PASS ? undefined : jobs.at(-1)?.id;
    if (last === undefined) this.#seen.delete(nodeId);
    else this.#seen.set(nodeId, last);
    return written;
  }
}

/** True when a command was written. */
export async function askToLeave(database: DataSource, jobId: string, nodeId: string): Promise<boolean> {
  return inTransaction(database, async (manager) => {
    const job = await lockJob(manager, jobId);
    if (job === null || job.node_id !== nodeId || !(await isDraining(manager, nodeId))) return false;
    if (await isHereAlone(manager, job)) return (await moveAway(manager, job, 'The node is being drained.')) === null;
    if (!LEAVES.includes(job.state) || (await isAsked(manager, job))) return false;
    const elsewhere = await otherNode(manager, job);
    if ('why' in elsewhere) return false;
    await command(manager, job, 'drain');
    const note = `Node ${nodeId} is being drained and is asked to give the job back at its next checkpoint.`;
    await addHistory(manager, job, job.state, job.state, note);
    return true;
  });
}

/** Its command never left. One that is let go meanwhile is the relay's, and asked for in the next pass. */
async function isHereAlone(manager: EntityManager, job: Job): Promise<boolean> {
  if (job.state !== 'queued' && job.state !== 'paused') return false;
  return neverLeft(manager, job);
}

async function isAsked(manager: EntityManager, job: Job): Promise<boolean> {
  const rows = await manager.query<unknown[]>(
    "SELECT id FROM outbox WHERE job_id = ? AND attempt = ? AND type = 'drain' AND status = 'pending'",
    [job.id, job.attempt],
  );
  return rows.length > 0;
}

/** The node takes work again: what it has not given back yet it keeps. */
export async function askToStay(manager: EntityManager, nodeId: string): Promise<void> {
  const jobs = await manager.query<{ id: string }[]>(`SELECT id FROM jobs WHERE node_id = ? AND state IN (${LEAVES_SQL})`, [
    nodeId,
  ]);
  for (const { id } of jobs) await closeCommands(manager, id, { type: 'drain' });
}

async function markDrained(database: DataSource): Promise<void> {
  const has = `EXISTS (SELECT 1 FROM jobs j WHERE j.node_id = nodes.id AND j.state NOT IN (${ENDED}))`;
  await database.query(`UPDATE nodes SET state = 'drained' WHERE state = 'draining' AND NOT ${has}`);
  // A job that was accepted in the moment of the drain, and that only this node can do.
  await database.query(`UPDATE nodes SET state = 'draining' WHERE state = 'drained' AND ${has}`);
}
