/** A node dies as if its power were cut, and is awaited: its supervisor must bring it back by itself. */
import { setTimeout as delay } from 'node:timers/promises';
import { PermanentError } from '@openservice/domain';
import type { Stack, StackFile } from '../supervisor/stack.ts';

const BACK_WITHIN_MS = 60_000;

export interface Restart {
  oldPid: number;
  newPid: number;
  /** From the kill until its new process ran. */
  seconds: number;
}

/** As it runs now: the pid changes when it was started again. */
export function nodeOf(stack: Stack, id: string): StackFile['nodes'][number] {
  const node = stack.stack.nodes.find((candidate) => candidate.id === id);
  if (!node) throw new PermanentError('no_such_node', `The stack has no node "${id}".`);
  return node;
}

/** SIGKILL to the node's process; answers its pid. */
export function killNode(stack: Stack, nodeId: string): number {
  const { pid } = nodeOf(stack, nodeId);
  process.kill(pid, 'SIGKILL');
  return pid;
}

/** Waits until it runs under another pid. PermanentError `node_not_back` after a minute. */
export async function awaitRestart(stack: Stack, nodeId: string, oldPid: number, signal: AbortSignal): Promise<Restart> {
  const killedAt = performance.now();
  for (;;) {
    const { pid } = nodeOf(stack, nodeId);
    const seconds = (performance.now() - killedAt) / 1000;
    if (pid !== oldPid) return { oldPid, newPid: pid, seconds };
    if (seconds * 1000 > BACK_WITHIN_MS) {
      throw new PermanentError(
        'node_not_back',
        `${nodeId} (pid ${oldPid}) was killed and had not been started again after ${Math.round(seconds)} s.`,
      );
    }
    await delay(50, undefined, { signal });
  }
}
