/**
 * Nodes that are being drained. What has not left for them goes elsewhere; what they have they are told to give back at its next checkpoint
 * (`yielded`), if another node can do it; the rest ends there. A node that has nothing left is drained.
 */
import { isTerminal, JOB_STATES, type JobState } from '@openservice/domain';
import { type DataSource, type EntityManager, inTransaction, type Job } from '@openservice/store';
import { closeCommands, command, neverLeft } from '../jobs/attempts.ts';
import { isDraining, moveAway } from '../jobs/move-away.ts';
import { noteOnce } from '../jobs/note-once.ts';
import { addHistory, lockJob } from '../jobs/transition.ts';
import { otherNode } from '../services/other-node.ts';

const MOST_A_PASS = 200;
/** States in which a job can leave; later ones end where they are. */
const LEAVES: readonly JobState[] = ['queued', 'dispatched', 'accepted', 'running', 'paused'];
const LEAVES_SQL = LEAVES.map((state) => `'${state}'`).join(', ');
// Named one by one: a node has few of these among all that have ended, and the index leads to each.
const NOT_ENDED_SQL = JOB_STATES.filter((state) => !isTerminal(state))
  .map((state) => `'${state}'`)
  .join(', ');

interface Draining {
  id: string;
  state: 'draining' | 'drained';
}

export class Drains {
  readonly #database: DataSource;
  /** Of each node: up to where its jobs were looked at. */
  readonly #seen = new Map<string, string>();

  constructor(database: DataSource) {
    this.#database = database;
  }

  /** True when commands were written for the relay. */
  async pass(): Promise<boolean> {
    const nodes = await this.#database.query<Draining[]>("SELECT id, state FROM nodes WHERE state IN ('draining', 'drained')");
    let written = false;
    for (const node of nodes) {
      written = (await this.empty(node.id)) || written;
      await markDrained(this.#database, node);
    }
    return written;
  }

  /** One step of a node that is being drained. True when commands were written for the relay. */
  async empty(nodeId: string): Promise<boolean> {
    const jobs = await this.#database.query<{ id: string }[]>(
      `SELECT id FROM jobs FORCE INDEX (jobs_node_state) WHERE node_id = ? AND state IN (${LEAVES_SQL}) AND id > ? ORDER BY id LIMIT ${MOST_A_PASS}`,
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
    if ('why' in elsewhere) {
      await noteOnce(manager, job, `Node ${nodeId} is being drained; the job stays and ends there: ${elsewhere.why}`);
      return false;
    }
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

/** A drained node that has a job after all was given it in the moment of the drain, and is the only one that can do it. */
async function markDrained(database: DataSource, node: Draining): Promise<void> {
  const jobs = await database.query<unknown[]>(`SELECT id FROM jobs WHERE node_id = ? AND state IN (${NOT_ENDED_SQL}) LIMIT 1`, [
    node.id,
  ]);
  const state = jobs.length === 0 ? 'drained' : 'draining';
  if (state !== node.state)
    await database.query('UPDATE nodes SET state = ? WHERE id = ? AND state = ?', [state, node.id, node.state]);
}
