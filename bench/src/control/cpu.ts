/** What processes have used of the machine: it says more of a loaded machine than seconds do. Linux alone; elsewhere all is 0. */
import { readFileSync } from 'node:fs';
import type { Lab } from '../lab.ts';

/** Of a second; the same on every Linux that Node runs on (sysconf CLK_TCK). */
const TICKS = 100;

/** Seconds of CPU, user's and system's, since the process began. */
export function cpuSeconds(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  } catch {
    return 0;
  }
}

/** By name: the center, its servers, the bench itself, and `more`. */
export function usedCpu(lab: Lab, more: Readonly<Record<string, number>> = {}): Record<string, number> {
  const pids: Record<string, number> = { center: lab.stack.stack.center.pid, bench: process.pid, ...more };
  for (const server of lab.stack.servers.all) {
    for (const child of server.children) if (child.pid !== undefined) pids[child.name] = child.pid;
  }
  return Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, cpuSeconds(pid)]));
}

/** What was used between two looks, as words; what used next to nothing is left out. */
export function cpuWords(before: Readonly<Record<string, number>>, after: Readonly<Record<string, number>>): string {
  const used = Object.entries(after).map(([name, seconds]) => [name, seconds - (before[name] ?? 0)] as const);
  return used.flatMap(([name, seconds]) => (seconds < 0.05 ? [] : [`${name} ${seconds.toFixed(1)}`])).join(', ');
}

/** Seconds that all of them used between two looks. */
export function cpuSum(before: Readonly<Record<string, number>>, after: Readonly<Record<string, number>>): number {
  return Object.entries(after).reduce((sum, [name, seconds]) => sum + seconds - (before[name] ?? 0), 0);
}
