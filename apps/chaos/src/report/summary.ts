import { CHECKS } from '../checks/all.ts';
import type { Evidence } from '../checks/check.ts';
import type { Client } from '../client/client.ts';
import type { FaultTimes } from '../faults/run-faults.ts';
import { counted, table } from './table.ts';

export interface Figures {
  linkBytes: number;
  longestRecoveryMs: number;
  quietMs: number;
  eventsSeen: number;
  eventConnections: number;
}

const MIB = 1024 * 1024;

export function summary(evidence: Evidence, clients: readonly Client[], faults: readonly FaultTimes[], figures: Figures): string {
  const { jobs } = evidence.rows;
  const ended = counted(jobs.map(({ kind, state }) => `${kind} ${state}`)).map(([what, n]): [string, string, number] => {
    const [kind = '', state = ''] = what.split(' ');
    return [kind, state, n];
  });
  const failures = counted(jobs.filter(({ state }) => state === 'failed').map(({ error_code }) => error_code ?? 'no reason'));
  const add = (pick: (client: Client) => Map<string, number>) =>
    counted(clients.flatMap((client) => [...pick(client)].flatMap(([what, n]) => Array<string>(n).fill(what))));
  const sent = jobs.reduce((sum, { bytes_sent }) => sum + Number(bytes_sent), 0);
  const compared = [...evidence.contents.values(), ...evidence.restored.values(), ...evidence.live.values()];
  const lines: [string, string][] = [
    ['jobs', `${jobs.length}, attempts ${evidence.rows.attempts.length}`],
    ['faults', `${faults.filter(({ began }) => began !== null).length}`],
    ['bytes', `${(sent / MIB).toFixed(1)} MiB sent by jobs, ${(figures.linkBytes / MIB).toFixed(1)} MiB over all links`],
    ['compared', `${compared.length} replicas, files and live disks, byte for byte`],
    ['events', `${figures.eventsSeen} told to one follower, over ${figures.eventConnections} connections`],
    ['longest recovery', `${(figures.longestRecoveryMs / 1000).toFixed(1)} s until the stack was well after faults`],
    ['until quiet', `${(figures.quietMs / 1000).toFixed(1)} s after all was healed`],
    ['checks', `${CHECKS.length}`],
  ];
  return [
    table('Jobs by kind and end', ended),
    table('Reasons of failures', failures),
    table(
      'Actions',
      add(({ counts }) => counts.actions),
    ),
    table(
      'Answers',
      add(({ counts }) => counts.answers),
    ),
    table('Faults', counted(faults.map(({ kind, began }) => (began === null ? `${kind} (could not be done)` : kind)))),
    table('In all', lines),
  ].join('\n');
}
