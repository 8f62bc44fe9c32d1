/** Peers that keep deduplicated backups in a directory: borg and restic, with their own defaults but for borg's lz4. */
import { mkdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { timeProgram } from '../lab.ts';
import { type Found, findPeer } from './find.ts';

export interface BackupPeer {
  readonly name: string;
  /** An empty repository in an empty `dir`. */
  init(): Promise<void>;
  /** Backs the file up once more. Seconds. */
  backup(path: string): Promise<number>;
  /** Brings the newest backup of the file back below `into`; answers the seconds and where it lies. */
  restore(path: string, into: string): Promise<{ seconds: number; path: string }>;
}

type Say = (line: string) => void;

/** `dir`: for the repository and for all that borg keeps beside it. */
export async function borg(dir: string, say: Say, signal: AbortSignal): Promise<Found<BackupPeer>> {
  const found = await findPeer('borg', 'borgbackup', say, signal);
  return found.peer === null ? found : { peer: borgIn(found.peer, dir, signal) };
}

function borgIn(program: string, dir: string, signal: AbortSignal): BackupPeer {
  const repository = join(dir, 'repository');
  const env = {
    BORG_BASE_DIR: join(dir, 'home'),
    BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
    BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
  };
  const run = (args: string[]) => timeProgram(program, args, signal, env);
  let archives = 0;
  return {
    name: 'borg',
    async init() {
      await emptied(dir);
      await run(['init', '--encryption', 'none', repository]);
    },
    backup: (path) => run(['create', '--compression', 'lz4', `${repository}::a${archives++}`, path]),
    async restore() {
      throw new Error('borg is no peer of restores here');
    },
  };
}

/** `dir`: for the repository and for restic's cache. */
export async function restic(dir: string, say: Say, signal: AbortSignal): Promise<Found<BackupPeer>> {
  const found = await findPeer('restic', 'restic', say, signal);
  return found.peer === null ? found : { peer: resticIn(found.peer, dir, signal) };
}

function resticIn(program: string, dir: string, signal: AbortSignal): BackupPeer {
  const env = {
    RESTIC_REPOSITORY: join(dir, 'repository'),
    RESTIC_CACHE_DIR: join(dir, 'cache'),
    RESTIC_PASSWORD: 'bench',
  };
  const run = (args: string[]) => timeProgram(program, args, signal, env);
  return {
    name: 'restic',
    async init() {
      await emptied(dir);
      await run(['init']);
    },
    backup: (path) => run(['backup', path]),
    async restore(path, into) {
      const seconds = await run(['restore', 'latest', '--target', into]);
      return { seconds, path: join(into, dirname(path), basename(path)) };
    },
  };
}

async function emptied(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
}
