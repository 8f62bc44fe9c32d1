/**
 * Named places where a test may end the process: `OPENSERVICE_FAILPOINTS=agent.acked=kill,upload.put=kill@20` sends SIGKILL to
 * itself at the first pass of one and the 20th of the other. Costs a map look-up where the variable is not set.
 */
const armed = new Map<string, number>();
for (const item of (process.env.OPENSERVICE_FAILPOINTS ?? '').split(',')) {
  const match = /^([a-z0-9.-]+)=kill(?:@(\d+))?$/.exec(item.trim());
  if (match?.[1] !== undefined) armed.set(match[1], Number(match[2] ?? 1));
}

/** Await it: nothing after the place may run in a process that is to die there. */
export function failpoint(name: string): void | Promise<void> {
  const left = armed.get(name);
  if (left === undefined) return;
  if (left > 1) {
    armed.set(name, left - 1);
    return;
  }
  process.kill(process.pid, 'SIGKILL');
  return new Promise<never>(() => undefined);
}
