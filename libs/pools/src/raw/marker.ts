/** The marker of a pool's directory, and the checks of a directory that is to be one. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { PermanentError } from '@openservice/domain';
import { type Backend, ObjectNotFoundError } from '../backend.ts';
import { isCode, mapped, statOrNull } from '../fs/durable.ts';
import { TEMP_DIRECTORY } from '../fs/temp-files.ts';
import { MARKER_KEY } from './paths.ts';

const FORMAT = 'openservice-raw';
/** What an empty place may hold: ext4's own folder, and our own before the marker was made. */
const NOTHING = new Set(['lost+found', TEMP_DIRECTORY]);

/** PermanentError `pool_not_initialised` unless `root` is this pool's. */
export async function checkMarker(backend: Backend, root: string, poolId: string, signal: AbortSignal): Promise<void> {
  const found = await readMarker(backend, root, signal);
  if (found !== poolId) {
    const what = found === null ? 'holds no pool' : `belongs to pool ${found}`;
    throw new PermanentError('pool_not_initialised', `${root} ${what}, not to pool ${poolId}; is its disk mounted?`);
  }
}

/** Marks an empty directory, made where it lacks. Again is no error. */
export async function createMarker(backend: Backend, root: string, poolId: string, signal: AbortSignal): Promise<void> {
  await makeRoot(root);
  const found = await readMarker(backend, root, signal);
  if (found === poolId) return;
  if (found !== null) throw inUse(root, `belongs to pool ${found}`);
  const names = await mapped(() => readdir(root));
  if (names.some((name) => !NOTHING.has(name))) throw inUse(root, 'is not empty');
  const marker = { format: FORMAT, version: 1, pool_id: poolId, created_at: new Date().toISOString() };
  if (await backend.putIfAbsent(MARKER_KEY, Buffer.from(`${JSON.stringify(marker)}\n`), signal)) return;
  const winner = await readMarker(backend, root, signal);
  if (winner !== poolId) throw inUse(root, `belongs to pool ${winner}`);
}

/** Proves that the directory can be written, read back and cleaned. */
export async function tryOut(backend: Backend, signal: AbortSignal): Promise<void> {
  const key = `probe/${randomUUID()}`;
  const bytes = Buffer.from(key);
  await backend.put(key, bytes, signal);
  const back = await backend.get(key, null, signal);
  await backend.remove(key, signal);
  if (!back.equals(bytes)) throw new PermanentError('io_error', `${backend.name} gave back other bytes than were written.`);
}

/** PermanentError `pool_path_invalid` for a path that is relative or not a directory. */
export async function checkRoot(root: string): Promise<void> {
  if (!isAbsolute(root)) throw new PermanentError('pool_path_invalid', `The pool's path ${root} is not absolute.`);
  const info = await mapped(() => statOrNull(root));
  if (info !== null && !info.isDirectory()) throw new PermanentError('pool_path_invalid', `${root} is not a directory.`);
}

/** Makes the directory where it lacks. PermanentError `pool_path_invalid` where a file is in its way. */
export async function makeRoot(root: string): Promise<void> {
  try {
    await mkdir(root, { recursive: true });
  } catch (error) {
    if (isCode(error, 'ENOTDIR') || isCode(error, 'EEXIST')) {
      throw new PermanentError('pool_path_invalid', `${root} cannot be a directory: a file is in its way.`, { cause: error });
    }
    await mapped(() => Promise.reject(error));
  }
}

/** The pool that `root` belongs to; null where there is no marker. */
async function readMarker(backend: Backend, root: string, signal: AbortSignal): Promise<string | null> {
  if ((await mapped(() => statOrNull(root))) === null) return null;
  let bytes: Buffer;
  try {
    bytes = await backend.get(MARKER_KEY, null, signal);
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return null;
    throw error;
  }
  try {
    const marker = JSON.parse(bytes.toString('utf8')) as { format?: unknown; version?: unknown; pool_id?: unknown };
    if (marker.format === FORMAT && marker.version === 1 && typeof marker.pool_id === 'string') return marker.pool_id;
  } catch {
    // Not JSON: somebody else's file of the same name.
  }
  throw inUse(root, `has a ${MARKER_KEY} that is not of this version of openservice`);
}

function inUse(root: string, why: string): PermanentError {
  return new PermanentError('pool_path_in_use', `${root} ${why}; choose an empty directory.`);
}
