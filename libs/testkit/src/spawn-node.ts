import { type ChildProcess, spawn } from 'node:child_process';

export interface SpawnedNode {
  readonly process: ChildProcess;
  /** What it wrote to both outputs so far. */
  output(): string;
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  kill(signal?: NodeJS.Signals): Promise<void>;
}

/** A TypeScript program under this Node, for tests that SIGKILL it: `OPENSERVICE_FAILPOINTS: 'name=kill'` in `env` lets it do so itself. */
export function spawnNode(entry: string, env: NodeJS.ProcessEnv = {}, args: string[] = []): SpawnedNode {
  const child = spawn(process.execPath, [entry, ...args], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  const keep = (part: Buffer) => {
    text = (text + part.toString()).slice(-1024 * 1024);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  return {
    process: child,
    output: () => text,
    exited,
    kill: async (signal = 'SIGKILL') => {
      child.kill(signal);
      await exited;
    },
  };
}
