/** NBD servers and clients that others wrote, each for one measurement. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { TransientError } from '@openservice/domain';
import { findPeer } from './find.ts';

const exec = promisify(execFile);
const START_LIMIT_MS = 10_000;

/** Programs, and the Debian packages that bring them. */
const PROGRAMS = {
  fio: 'fio',
  nbdcopy: 'libnbd-bin',
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  'qemu-nbd': 'qemu-utils',
  nbdkit: 'nbdkit',
} as const;

/** Why NBD cannot be measured here, or null. */
export async function missingNbdPrograms(say: (line: string) => void, signal: AbortSignal): Promise<string | null> {
  for (const [program, debianPackage] of Object.entries(PROGRAMS)) {
    const found = await findPeer(program, debianPackage, say, signal);
    if (found.peer === null) return found.why;
  }
  return null;
}

export interface NbdPeer {
  uri: string;
  stop(): Promise<void>;
}

/** `format`: raw or qcow2; read-only. */
export function qemuNbd(socket: string, format: string, path: string): Promise<NbdPeer> {
  return serve(socket, 'qemu-nbd', ['-k', socket, '-t', '-e', '16', '-r', '-f', format, '--cache=writeback', path]);
}

/** A copy-on-write overlay in a temporary file over `path`. */
export function nbdkitCow(socket: string, path: string): Promise<NbdPeer> {
  return serve(socket, 'nbdkit', ['-f', '-U', socket, '--filter=cow', 'file', path]);
}

/** Operations a second. `offset` and `size` in bytes; depth 32, 4 KiB, over one connection. */
export async function fio(
  uri: string,
  kind: 'randread' | 'randwrite',
  part: { size: number; seconds: number },
  signal: AbortSignal,
): Promise<number> {
  const args = [
    '--name=bench',
    '--ioengine=nbd',
    `--uri=${uri}`,
    `--rw=${kind}`,
    '--bs=4k',
    '--iodepth=32',
    `--size=${part.size}`,
    '--time_based',
    `--runtime=${part.seconds}`,
    '--ramp_time=1',
    '--norandommap',
    '--randrepeat=1',
    '--output-format=json',
  ];
  const { stdout } = await exec('fio', args, { signal, maxBuffer: 16 * 1024 * 1024 });
  const { jobs } = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
    jobs: { read: { iops: number }; write: { iops: number } }[];
  };
  return kind === 'randread' ? jobs[0]!.read.iops : jobs[0]!.write.iops;
}

/** Reads all of it; seconds. */
export async function readWhole(uri: string, signal: AbortSignal): Promise<number> {
  const since = performance.now();
  await exec('nbdcopy', [uri, 'null:'], { signal });
  return (performance.now() - since) / 1000;
}

/** Reads the first 4 KiB. */
export async function readStart(uri: string, signal: AbortSignal): Promise<void> {
  await exec('qemu-io', ['-r', '-f', 'raw', '-c', 'read 0 4k', uri], { signal });
}

async function serve(socket: string, command: string, args: string[]): Promise<NbdPeer> {
  await rm(socket, { force: true });
  const child: ChildProcess = spawn(command, args, { stdio: 'ignore' });
  const gone = once(child, 'exit');
  const end = performance.now() + START_LIMIT_MS;
  while (!existsSync(socket)) {
    if (child.exitCode !== null || performance.now() > end)
      throw new TransientError('peer_failed', `${command} did not begin to listen.`);
    await pause(10);
  }
  return {
    uri: `nbd+unix:///?socket=${socket}`,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await gone;
    },
  };
}
