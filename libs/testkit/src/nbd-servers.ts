/** Real NBD servers for tests, on Unix sockets and ports of their own (`needsPeers`). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { waitFor } from './wait.ts';

export interface NbdServer {
  uri: string;
  process: ChildProcess;
  stop(): Promise<void>;
}

/** `args` after the socket's own: plugin, filters. */
export async function nbdkit(socket: string, args: string[]): Promise<NbdServer> {
  const server = run('nbdkit', ['-f', '-U', socket, ...args], `nbd+unix:///?socket=${socket}`);
  await waitFor('nbdkit to listen', () => server.process.exitCode !== null || existsSync(socket));
  return server;
}

export async function nbdkitOnPort(args: string[], scheme = 'nbd', host = '127.0.0.1'): Promise<NbdServer> {
  const port = await freePort();
  const server = run('nbdkit', ['-f', '-i', '127.0.0.1', '-p', String(port), ...args], `${scheme}://${host}:${port}/`);
  await waitFor('nbdkit to listen', () => server.process.exitCode !== null || listens(port));
  return server;
}

export async function qemuNbd(socket: string, args: string[], exportName = ''): Promise<NbdServer> {
  const name = exportName === '' ? [] : ['-x', exportName];
  const server = run('qemu-nbd', ['-k', socket, '-t', '-e', '4', ...name, ...args], `nbd+unix:///${exportName}?socket=${socket}`);
  await waitFor('qemu-nbd to listen', () => server.process.exitCode !== null || existsSync(socket));
  return server;
}

function run(command: string, args: string[], uri: string): NbdServer {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = once(child, 'exit');
  return {
    uri,
    process: child,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (up: boolean) => {
      socket.destroy();
      resolve(up);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
