/**
 * The pool that every node exports under the name `default`: a dedup pool under `<dataDir>/exports/default`. Its id is random and is kept
 * in `<dataDir>/exports/default.json`: no center knows it, clients know the name.
 */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChunkWorkers } from '@openservice/codec';
import { isId, newId, PermanentError } from '@openservice/domain';
import { openPool, type Pool } from '@openservice/pools';

export const EXPORT_NAME = 'default';

export interface ExportsOptions {
  dataDir: string;
  nodeId: string;
  workers: ChunkWorkers;
}

export class Exports {
  readonly #options: ExportsOptions;
  #opened: Promise<Pool> | null = null;

  constructor(options: ExportsOptions) {
    this.#options = options;
  }

  /** The pool of that name, made when it is not there yet. PermanentError `pool_not_found`. A failure is tried again by the next call. */
  get(name: string): Promise<Pool> {
    if (name !== EXPORT_NAME) {
      const { nodeId } = this.#options;
      return Promise.reject(new PermanentError('pool_not_found', `Node ${nodeId} exports no pool named ${name}.`));
    }
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = null;
      throw error;
    });
    return this.#opened;
  }

  async close(): Promise<void> {
    const opened = this.#opened;
    this.#opened = null;
    await (await opened?.catch(() => null))?.close();
  }

  async #open(): Promise<Pool> {
    const { dataDir, nodeId, workers } = this.#options;
    const dir = join(dataDir, 'exports');
    await mkdir(dir, { recursive: true });
    const id = await keptId(join(dir, `${EXPORT_NAME}.json`));
    const spec = { id, type: 'dedup', node_id: nodeId, path: join(dir, EXPORT_NAME), encryption_key: null } as const;
    const pool = openPool(spec, { workers, cacheDir: join(dataDir, 'cache') });
    try {
      await pool.probe({ create: true }, new AbortController().signal);
      return pool;
    } catch (error) {
      await pool.close();
      throw error;
    }
  }
}

/** Durable before the pool is marked with it. */
async function keptId(path: string): Promise<string> {
  try {
    const { pool_id } = JSON.parse(await readFile(path, 'utf8')) as { pool_id?: unknown };
    if (typeof pool_id === 'string' && isId('pool', pool_id)) return pool_id;
    throw new PermanentError('bad_export', `${path} does not hold the id of a pool; put it back from pool.json beside it.`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const pool_id = newId('pool');
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(`${JSON.stringify({ pool_id })}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  return pool_id;
}
