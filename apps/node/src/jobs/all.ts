/** Every kind of job that a node does: one line each. */
import type { HandlerTable } from '@openservice/agent';
import { deleteHandler } from './delete.ts';
import type { JobDeps } from './deps.ts';
import { importHandler } from './import.ts';
import { restoreHandler } from './restore.ts';
import { uploadHandler } from './upload.ts';
import { verifyHandler } from './verify.ts';

export function makeHandlers(deps: JobDeps): HandlerTable {
  return {
    import: importHandler(deps),
    upload: uploadHandler(deps),
    restore: restoreHandler(deps),
    delete: deleteHandler(deps),
    verify: verifyHandler(deps),
  };
}
