/** Opens what a restore writes. The door of this folder. */
import { isDeepStrictEqual } from 'node:util';
import { PermanentError } from '@openservice/domain';
import { discardFileTarget, type FileTargetState, openFileTarget } from '@openservice/transfer';
import { z } from 'zod';
import { filePlace } from './file-place.ts';
import { type InPlaceState, InPlaceTarget, inPlaceState } from './in-place.ts';
import { nbdPlace } from './nbd-place.ts';
import type { Place } from './place.ts';
import type { RestoreTarget, TargetDeps, TargetOptions, TargetRef } from './port.ts';

export type { RestoreTarget, TargetDeps, TargetOptions, TargetRef } from './port.ts';
export { probeTarget } from './probe-target.ts';

const partFileState = z.object({ dev: z.string(), ino: z.string(), chunks: z.number().int().nonnegative() });

/**
 * A new file appears whole under its name at commit, or not at all. A block device, an NBD export and (with `delta`) a file that
 * exists are written in place. Errors are those of ImportRoots, `target_too_small`, `read_only`, and those of connectNbd.
 */
export async function openTarget(
  deps: Pick<TargetDeps, 'importRoots' | 'workers'>,
  target: TargetRef,
  options: TargetOptions,
): Promise<RestoreTarget> {
  const { size, delta, signal } = options;
  if (target.type === 'nbd') return inPlace(deps, await nbdPlace(target.uri, size, signal), options);
  const part = partFileState.safeParse(options.resume);
  if (part.success) return newFile(deps, target.path, options, part.data);
  const there = await deps.importRoots.openTarget(target.path, { overwrite: delta });
  if (there === null) return newFile(deps, target.path, options, null);
  try {
    return inPlace(deps, await filePlace(there, target.path, size), options);
  } catch (error) {
    await there.handle.close();
    throw error;
  }
}

/** Removes what the job left beside a new file that was never committed. What is written in place is left as it is. May be repeated. */
export async function discardTarget(
  deps: Pick<TargetDeps, 'importRoots'>,
  target: TargetRef,
  options: { jobId: string },
): Promise<void> {
  if (target.type === 'nbd') return;
  let path: string;
  try {
    path = await deps.importRoots.resolveOwnTarget(target.path);
  } catch (error) {
    // The directory is gone or no longer allowed: nothing is left there to remove.
    if (error instanceof PermanentError) return;
    throw error;
  }
  await discardFileTarget(path, options.jobId);
}

async function newFile(
  deps: Pick<TargetDeps, 'importRoots' | 'workers'>,
  path: string,
  options: TargetOptions,
  resume: FileTargetState | null,
): Promise<RestoreTarget> {
  const { size, chunkSize, jobId, signal } = options;
  const resolved = await deps.importRoots.resolveOwnTarget(path);
  return openFileTarget({ path: resolved, size, chunkSize, jobId, resume, workers: deps.workers, signal });
}

function inPlace(deps: Pick<TargetDeps, 'workers'>, place: Place, options: TargetOptions): RestoreTarget {
  const { size, chunkSize, delta } = options;
  return new InPlaceTarget({ place, size, chunkSize, delta, resume: ownState(options.resume, place), workers: deps.workers });
}

/** What an earlier run left, if it was in this very place. */
function ownState(resume: unknown, place: Place): InPlaceState | null {
  const state = inPlaceState.safeParse(resume);
  return state.success && isDeepStrictEqual(state.data.in_place, place.identity) ? state.data : null;
}
