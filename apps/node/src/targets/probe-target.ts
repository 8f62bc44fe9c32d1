/** Looks at where a restore would write, before it is accepted. */
import { access, constants } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PermanentError } from '@openservice/domain';
import type { NodeRequest } from '@openservice/runtime';
import type { TargetFile } from '../import-roots.ts';
import { demandRoom } from './file-place.ts';
import { nbdPlace } from './nbd-place.ts';
import type { TargetDeps } from './port.ts';

/** ms for an NBD server to answer. */
const PROBE_LIMIT = 10_000;

/** Errors are those of openTarget, and `permission_denied`, `no_space`. */
export async function probeTarget(deps: Pick<TargetDeps, 'importRoots'>, request: NodeRequest<'target_probe'>): Promise<void> {
  const { target, size, delta } = request;
  if (target.type === 'nbd') {
    const place = await nbdPlace(target.uri, size, AbortSignal.timeout(PROBE_LIMIT));
    await place.close();
    return;
  }
  const there = await deps.importRoots.openTarget(target.path, { overwrite: delta });
  if (there === null) return probeNewFile(deps, target.path, size);
  try {
    if (there.device) demandRoom(target.path, there.size, size);
    else await demandFree(deps, there, size);
  } finally {
    await there.handle.close();
  }
}

async function probeNewFile(deps: Pick<TargetDeps, 'importRoots'>, path: string, size: number): Promise<void> {
  const target = await deps.importRoots.resolveTarget(path);
  await access(dirname(target), constants.W_OK | constants.X_OK).catch((cause: unknown) => {
    throw new PermanentError('permission_denied', `The node may not write into ${dirname(target)}; check its owner and mode.`, {
      cause,
    });
  });
  demandSpace(dirname(target), await deps.importRoots.freeBytes(target), size);
}

/** What the file takes up already counts as room. */
async function demandFree(deps: Pick<TargetDeps, 'importRoots'>, there: TargetFile, size: number): Promise<void> {
  const used = (await there.handle.stat()).blocks * 512;
  demandSpace(dirname(there.realPath), (await deps.importRoots.freeBytes(there.realPath)) + used, size);
}

function demandSpace(directory: string, free: number, size: number): void {
  if (free >= size) return;
  throw new PermanentError('no_space', `${directory} has ${free} bytes free and ${size} may be needed; make room first.`);
}
