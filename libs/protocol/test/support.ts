import { centerRpcSubject, cmdSubject, evtSubject, nodeRpcSubject, progSubject } from '../src/index.ts';

export * from '../src/index.ts';

/** One subject of each family, for `node`. */
export function subjects(node: string): string[] {
  return [
    cmdSubject(node, 'run'),
    evtSubject(node, 'job-1', 'accepted'),
    progSubject(node, 'job-1'),
    nodeRpcSubject(node, 'have'),
    centerRpcSubject(node, 'sync'),
  ];
}
