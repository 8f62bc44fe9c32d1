/** Every kind of job that a node does: one line each. */
import type { HandlerTable } from '@openservice/agent';
import { copyHandler } from './copy.ts';
import { deleteHandler } from './delete.ts';
import type { JobDeps } from './deps.ts';
import { gcHandler } from './gc.ts';
import { hydrateHandler } from './hydrate.ts';
import { importHandler } from './import.ts';
import { loadHandler } from './load.ts';
import { moveHandler } from './move.ts';
import { poolVerifyHandler } from './pool-verify.ts';
import { rebuildHandler } from './rebuild.ts';
import { restoreHandler } from './restore.ts';
import { rewindHandler } from './rewind.ts';
import { saveHandler } from './save.ts';
import { undeleteHandler } from './undelete.ts';
import { unloadHandler } from './unload.ts';
import { uploadHandler } from './upload.ts';
import { verifyHandler } from './verify.ts';

export function makeHandlers(deps: JobDeps): HandlerTable {
  return {
    import: importHandler(deps),
    upload: uploadHandler(deps),
    copy: copyHandler(deps),
    move: moveHandler(deps),
    restore: restoreHandler(deps),
    delete: deleteHandler(deps),
    undelete: undeleteHandler(deps),
    verify: verifyHandler(deps),
    gc: gcHandler(deps),
    pool_verify: poolVerifyHandler(deps),
    rebuild: rebuildHandler(deps),
    load: loadHandler(deps),
    unload: unloadHandler(deps),
    save: saveHandler(deps),
    rewind: rewindHandler(deps),
    hydrate: hydrateHandler(deps),
  };
}
