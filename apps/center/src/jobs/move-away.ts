/**
 * A job leaves a node that is offline or takes no new work, for another that reaches both ends: a new attempt with a new fence, which goes on
 * from what the target durably holds. It counts as no failure. docs/ARCHITECTURE.md ("A job changes its node") says why the two attempts
 * never both commit.
 */
import type { EntityManager, Job, NodeState } from '@openservice/store';
import { otherNode } from '../services/other-node.ts';
import { newAttempt } from './transition.ts';

const LEAVE: ReadonlySet<NodeState> = new Set(['offline', 'draining', 'drained']);

/** Null when the job, whose row is locked, has a new attempt on another node; else why it stays where it is; a sentence. */
export async function moveAway(manager: EntityManager, job: Job, why: string): Promise<string | null> {
  const state = await stateOfNode(manager, job.node_id);
  if (state === null || !LEAVE.has(state)) return `node ${job.node_id} is ${state ?? 'not known'}.`;
  const elsewhere = await otherNode(manager, job);
  if ('why' in elsewhere) return elsewhere.why;
  const note = `${why} Attempt ${job.attempt + 1} goes from node ${job.node_id} (${state}) to node ${elsewhere.nodeId}.`;
  return (await newAttempt(manager, job, note, { nodeId: elsewhere.nodeId })) ? null : `a job that is ${job.state} stays there.`;
}

/** Where the job's next attempt is to run: where it was, unless that node takes no new work and another can do it. */
export async function nodeForNext(manager: EntityManager, job: Job): Promise<string> {
  const state = await stateOfNode(manager, job.node_id);
  if (state === null || !LEAVE.has(state)) return job.node_id;
  const elsewhere = await otherNode(manager, job);
  return 'nodeId' in elsewhere ? elsewhere.nodeId : job.node_id;
}

/** It takes no new work. */
export async function isDraining(manager: EntityManager, nodeId: string): Promise<boolean> {
  const state = await stateOfNode(manager, nodeId);
  return state === 'draining' || state === 'drained';
}

async function stateOfNode(manager: EntityManager, nodeId: string): Promise<NodeState | null> {
  const [node] = await manager.query<{ state: NodeState }[]>('SELECT state FROM nodes WHERE id = ?', [nodeId]);
  return node?.state ?? null;
}
