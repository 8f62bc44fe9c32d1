/** An NBD server of ours with one disk, and programs that others wrote to talk to it. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type BlockDevice, type NbdExport, NbdServer, type NbdServerOptions, newCounters } from '@openservice/nbd';

export interface Served {
  server: NbdServer;
  dir: string;
  socket: string;
  /** Of export `disk`, over the Unix socket. */
  uri: string;
  exports: Map<string, NbdExport>;
  stop(): Promise<void>;
}

export function exportOf(name: string, device: BlockDevice, description = ''): NbdExport {
  return { name, description, device, counters: newCounters() };
}

export async function serve(device: BlockDevice, options: Partial<NbdServerOptions> = {}): Promise<Served> {
  const dir = await mkdtemp(join(tmpdir(), 'openservice-nbd-'));
  const socket = join(dir, 's');
  const exports = new Map([['disk', exportOf('disk', device, 'a disk of a test')]]);
  const server = new NbdServer({
    socket,
    ...options,
    exports: { find: (name) => exports.get(name) ?? null, list: () => exports.values() },
  });
  await server.start();
  return {
    server,
    dir,
    socket,
    uri: `nbd+unix:///disk?socket=${socket}`,
    exports,
    async stop() {
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

const exec = promisify(execFile);

export async function run(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await exec(command, args, { maxBuffer: 64 * 1024 * 1024 });
  return stdout;
}
