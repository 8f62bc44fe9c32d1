import { access, constants } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PermanentError } from '@openservice/domain';
import type { NodeReply, NodeRequest } from '@openservice/runtime';
import type { ImportRoots } from '../import-roots.ts';

/** Errors are those of ImportRoots.resolveTarget, and `permission_denied`, `no_space`. */
export async function targetProbe(roots: ImportRoots, request: NodeRequest<'target_probe'>): Promise<NodeReply<'target_probe'>> {
  const target = await roots.resolveTarget(request.target.path);
  await access(dirname(target), constants.W_OK | constants.X_OK).catch((cause: unknown) => {
    throw new PermanentError('permission_denied', `The node may not write into ${dirname(target)}; check its owner and mode.`, {
      cause,
    });
  });
  const free = await roots.freeBytes(target);
  if (free < request.size) {
    throw new PermanentError(
      'no_space',
      `${dirname(target)} has ${free} bytes free and ${request.size} may be needed; make room first.`,
    );
  }
  return {};
}
