/** The center as a process of its own, so that it can be killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export interface CenterProcess {
  readonly url: string;
  /** Resolves with the exit code, or the signal's name, once it is gone. */
  readonly gone: Promise<number | string | null>;
  readonly lines: string[];
  stop(): Promise<void>;
}

export interface Servers {
  mysql: string;
  nats: string;
  dataDir: string;
}

export async function makeDataDir(): Promise<{ dir: string; remove(): Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), 'openservice-center-'));
  return { dir, remove: () => rm(dir, { recursive: true, force: true }) };
}

/** Resolves once HTTP is up. `failpoints`: where it kills itself. */
export async function spawnCenter(servers: Servers, failpoints = ''): Promise<CenterProcess> {
  const child: ChildProcess = spawn(process.execPath, [MAIN], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      OPENSERVICE_DATA_DIR: servers.dataDir,
      OPENSERVICE_HTTP_PORT: '0',
      OPENSERVICE_MYSQL_URL: servers.mysql,
      OPENSERVICE_NATS_URL: servers.nats,
      OPENSERVICE_REDIS_URL: 'redis://127.0.0.1:1',
      OPENSERVICE_LOG_LEVEL: 'debug',
      OPENSERVICE_FAILPOINTS: failpoints,
    },
  });
  const lines: string[] = [];
  const gone = once(child, 'exit').then(([code, signal]) => (signal ?? code) as number | string | null);
  child.stderr?.on('data', (text: Buffer) => lines.push(text.toString()));
  const port = await new Promise<number>((resolve, reject) => {
    if (child.stdout === null) return reject(new Error('no stdout'));
    createInterface(child.stdout).on('line', (line) => {
      lines.push(line);
      const said = line.startsWith('{') ? (JSON.parse(line) as { msg?: string; port?: number }) : {};
      if (said.msg === 'HTTP is up.' && said.port !== undefined) resolve(said.port);
    });
    void gone.then((how) => reject(new Error(`The center ended (${how}) before HTTP was up:\n${lines.join('\n')}`)));
  });
  return {
    url: `http://127.0.0.1:${port}`,
    gone,
    lines,
    async stop() {
      child.kill('SIGTERM');
      await gone;
    },
  };
}

export async function readToken(dataDir: string): Promise<string> {
  return (await readFile(join(dataDir, 'token'), 'utf8')).trim();
}
