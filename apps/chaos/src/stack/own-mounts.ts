/** The harness in a mount namespace of its own: what it mounts nobody else sees, and it is gone with the last of its processes, however they end. */
import { spawn, spawnSync } from 'node:child_process';
import { findBinary } from '@openservice/servers';

const INSIDE = 'OPENSERVICE_CHAOS_MOUNTS';

export const hasOwnMounts = (): boolean => process.env[INSIDE] === 'own';

/** Runs this very program again inside; resolves with its exit code. Null where that cannot be, or is so already. */
export async function againInside(args: readonly string[]): Promise<number | null> {
  const unshare = findBinary('unshare');
  if (hasOwnMounts() || unshare === undefined || process.getuid?.() !== 0) return null;
  if (spawnSync(unshare, ['--mount', '--propagation', 'private', 'true']).status !== 0) return null;
  const words = ['--mount', '--propagation', 'private', process.execPath, ...process.execArgv, process.argv[1] ?? '', ...args];
  const child = spawn(unshare, words, { stdio: 'inherit', env: { ...process.env, [INSIDE]: 'own' } });
  const pass = (signal: NodeJS.Signals) => child.kill(signal);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, pass);
  // From a terminal it reaches the child as it does us; a second one does no harm.
  process.on('SIGINT', pass);
  return new Promise((resolve) => {
    child.once('error', () => resolve(null));
    child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 143)));
  });
}
