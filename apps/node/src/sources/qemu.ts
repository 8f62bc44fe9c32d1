/** qemu-nbd, which reads images that are not raw: started for one client, which it ends with. */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { OpenServiceError, PermanentError, TransientError } from '@openservice/domain';
import { connectNbd, type NbdClient } from '@openservice/nbd';

const START_LIMIT = 20_000;
const POLL = 20;
const MAX_WORDS = 2000;
const FOLDERS = ['/usr/bin', '/usr/local/bin', '/opt/homebrew/bin'];

export interface QemuExport {
  client: NbdClient;
  /** Says goodbye, and waits until qemu-nbd has ended. */
  close(): Promise<void>;
}

/**
 * Serves an image read-only. `options`: for --image-opts. `fds`: inherited as 3, 4, … `socket`: a path in a directory of ours alone.
 * PermanentError `image_format_unsupported` where qemu-nbd is not installed, `image_unreadable`, `image_in_use`.
 */
export async function serveWithQemu(options: {
  options: readonly string[];
  fds: readonly number[];
  socket: string;
  /** For messages. */
  path: string;
  findQemu?: (() => Promise<string | null>) | undefined;
  signal: AbortSignal;
}): Promise<QemuExport> {
  const child = await start(options);
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  let words = '';
  child.stderr?.on('data', (part: Buffer) => {
    words = (words + part.toString()).slice(-MAX_WORDS);
  });
  child.once('error', (error) => {
    words += error.message;
  });
  const end = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  try {
    const client = await connected(child, options, () => words);
    return {
      client,
      async close() {
        await client.close();
        await end();
      },
    };
  } catch (error) {
    await end();
    throw error;
  }
}

async function start(options: Parameters<typeof serveWithQemu>[0]): Promise<ChildProcess> {
  const program = await (options.findQemu ?? findQemuNbd)();
  if (program === null) {
    throw new PermanentError(
      'image_format_unsupported',
      `${options.path} is not a raw image, and qemu-nbd, which reads it, is not installed on this node: install qemu-utils, or convert the image to raw.`,
    );
  }
  const args = ['--read-only', '--shared=1', `--socket=${options.socket}`, '--image-opts', options.options.join(',')];
  return spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe', ...options.fds] });
}

async function connected(
  child: ChildProcess,
  options: { socket: string; path: string; signal: AbortSignal },
  words: () => string,
): Promise<NbdClient> {
  const uri = `nbd+unix:///?socket=${encodeURIComponent(options.socket)}`;
  for (const deadline = performance.now() + START_LIMIT; ; ) {
    try {
      return await connectNbd(uri, { signal: options.signal });
    } catch (error) {
      // The socket is not there, or not listened to yet.
      const early = error instanceof OpenServiceError && (error.code === 'nbd_refused' || error.code === 'unreachable');
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined)
        throw unreadable(options.path, words());
      if (!early) throw error;
      if (performance.now() > deadline)
        throw new TransientError('nbd_timeout', `qemu-nbd did not serve ${options.path} within ${START_LIMIT / 1000} s.`);
    }
    await pause(POLL, undefined, { signal: options.signal });
  }
}

function unreadable(path: string, words: string): PermanentError {
  const told = words
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(-300);
  if (/lock/i.test(told)) {
    return new PermanentError(
      'image_in_use',
      `${path} is in use by another program, most likely a running machine; stop it, or import a snapshot. (${told})`,
    );
  }
  return new PermanentError('image_unreadable', `qemu-nbd cannot read ${path}: ${told === '' ? 'it gave no reason' : told}`);
}

async function findQemuNbd(): Promise<string | null> {
  for (const folder of [...(process.env.PATH ?? '').split(delimiter), ...FOLDERS]) {
    if (!folder.startsWith('/') || folder.includes('node_modules')) continue;
    const path = join(folder, 'qemu-nbd');
    const there = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (there) return path;
  }
  return null;
}
