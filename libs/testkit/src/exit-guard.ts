import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';

const LOOK_EVERY_MS = 250;

/**
 * Kills `child` when it is still there `limitMs` after `endFile` has appeared; `onKill` is called first. Mocha ends by itself: one handle
 * that a test leaves open would keep it for ever.
 */
export function guardExit(child: ChildProcess, endFile: string, limitMs: number, onKill: () => void): void {
  let since: number | null = null;
  const timer = setInterval(() => {
    if (since === null && existsSync(endFile)) since = performance.now();
    if (since === null || performance.now() - since < limitMs) return;
    clearInterval(timer);
    onKill();
    child.kill('SIGKILL');
  }, LOOK_EVERY_MS);
  child.once('error', () => clearInterval(timer));
  child.once('exit', () => clearInterval(timer));
}
