/** What a node remembers of an instance: `<dataDir>/instances/<id>/instance.json`, replaced as a whole. The disks' writes lie beside it. */
import { constants } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { asOpenServiceError, isId, PermanentError } from '@openservice/domain';
import { z } from 'zod';

const FILE = 'instance.json';

const schema = z.object({
  v: z.literal(1),
  instance_id: z.string(),
  name: z.string(),
  read_only: z.boolean(),
  /** The run that loaded it, or found it loaded, last: an older one that is cleaned up late takes nothing away. */
  loaded_by: z.object({ job_id: z.string(), fence: z.number() }),
  /** The job that has it for itself: no client may connect, before as after a restart, until that job lets it go. Null: none. */
  held: z
    .object({
      job_id: z.string(),
      /** Names the time for which nothing can have been written: a new one each time that it is taken. */
      moment: z.string(),
    })
    .nullable()
    .default(null),
  disks: z
    .array(
      z.object({
        index: z.number().int().nonnegative(),
        block: z.object({
          id: z.string(),
          size: z.number().int().nonnegative(),
          chunk_size: z.number().int().positive(),
          root_digest: z.string(),
        }),
        pool_id: z.string(),
      }),
    )
    .min(1),
});
export type InstanceRecord = z.infer<typeof schema>;

export class InstanceFiles {
  readonly #root: string;

  /** `root`: made where it lacks. */
  constructor(root: string) {
    this.#root = root;
  }

  /** Where the writes of one disk are kept. */
  diskPath(instanceId: string, index: number): string {
    return join(this.#folder(instanceId), String(index));
  }

  /** Ids of all instances that are remembered. */
  async list(): Promise<string[]> {
    return mapped(async () => {
      const names = await readdir(this.#root).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return [];
        throw error;
      });
      const ids: string[] = [];
      for (const name of names.filter((id) => isId('ins', id)).sort()) {
        if ((await this.#text(name)) !== null) ids.push(name);
        // Without its record it never came to be, or is half removed.
        else await rm(this.#folder(name), { recursive: true, force: true });
      }
      return ids;
    });
  }

  /** PermanentError `damaged_instance`. */
  async read(instanceId: string): Promise<InstanceRecord> {
    const text = await mapped(() => this.#text(instanceId));
    try {
      return schema.parse(JSON.parse(text ?? ''));
    } catch (cause) {
      throw new PermanentError('damaged_instance', `${join(this.#folder(instanceId), FILE)} is damaged.`, { cause });
    }
  }

  /** Durable once it resolves, with the folders that the disks have by then. */
  async write(record: InstanceRecord): Promise<void> {
    await mapped(async () => {
      const folder = this.#folder(record.instance_id);
      const made = await mkdir(folder, { recursive: true, mode: 0o700 });
      const path = join(folder, FILE);
      const file = await open(`${path}.new`, 'w', 0o600);
      try {
        await file.writeFile(`${JSON.stringify(record)}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await Promise.all((await foldersIn(folder)).map(syncDirectory));
      await rename(`${path}.new`, path);
      for (const directory of [folder, this.#root, ...(made === undefined ? [] : [dirname(made)])])
        await syncDirectory(directory);
    });
  }

  /** The record goes first: what is left after a crash is no instance. Again is no error. */
  async remove(instanceId: string): Promise<void> {
    await mapped(async () => {
      const folder = this.#folder(instanceId);
      await rm(join(folder, FILE), { force: true });
      await syncDirectory(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
      await rm(folder, { recursive: true, force: true });
    });
  }

  #folder(instanceId: string): string {
    return join(this.#root, instanceId);
  }

  async #text(instanceId: string): Promise<string | null> {
    return readFile(join(this.#folder(instanceId), FILE), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
  }
}

/** Those below it, and their files' names, that a power cut must not take. */
async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function mapped<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw asOpenServiceError(error);
  }
}
