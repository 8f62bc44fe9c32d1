/** A NATS server of its own (streams have fixed names, so test files must not share one). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { until } from './until.ts';

export interface OwnNats {
  url: string;
  /** JetStream's directory. */
  store: string;
  stop(): Promise<void>;
}

/** Null, said on the console, when the machine has no nats-server. */
export async function ownNats(): Promise<OwnNats | null> {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/bin'];
  const binary = folders.map((folder) => join(folder, 'nats-server')).find((path) => existsSync(path));
  if (binary === undefined) {
    console.log('    skipped: nats-server is not installed');
    return null;
  }
  const dir = await mkdtemp(join(tmpdir(), 'openservice-nats-'));
  const child: ChildProcess = spawn(
    binary,
    ['-js', '-sd', join(dir, 'js'), '-a', '127.0.0.1', '-p', '-1', '--ports_file_dir', dir],
    { stdio: 'ignore' },
  );
  const url = await until('the ports file of nats-server', async () => {
    const name = (await readdir(dir)).find((file) => file.endsWith('.ports'));
    if (name === undefined) return null;
    const text = await readFile(join(dir, name), 'utf8');
    return text === '' ? null : (JSON.parse(text) as { nats: string[] }).nats[0];
  });
  return {
    url,
    store: join(dir, 'js'),
    async stop() {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
      await rm(dir, { recursive: true, force: true });
    },
  };
}
