/** What each kind of job means for the center's rows. A new kind is one file and one line here. */
import type { JobKind } from '@openservice/domain';
import { copyEffects } from './copy.ts';
import { deleteEffects } from './delete.ts';
import type { KindEffects } from './effects.ts';
import { gcEffects } from './gc.ts';
import { hydrateEffects } from './hydrate.ts';
import { importEffects } from './import.ts';
import { loadEffects } from './load.ts';
import { moveEffects } from './move.ts';
import { poolVerifyEffects } from './pool-verify.ts';
import { rebuildEffects } from './rebuild.ts';
import { restoreEffects } from './restore.ts';
import { rewindEffects } from './rewind.ts';
import { saveEffects } from './save.ts';
import { undeleteEffects } from './undelete.ts';
import { unloadEffects } from './unload.ts';
import { uploadEffects } from './upload.ts';
import { verifyEffects } from './verify.ts';

export const KINDS: Readonly<Record<JobKind, KindEffects>> = {
  import: importEffects,
  upload: uploadEffects,
  copy: copyEffects,
  move: moveEffects,
  restore: restoreEffects,
  delete: deleteEffects,
  undelete: undeleteEffects,
  verify: verifyEffects,
  gc: gcEffects,
  pool_verify: poolVerifyEffects,
  rebuild: rebuildEffects,
  load: loadEffects,
  unload: unloadEffects,
  save: saveEffects,
  rewind: rewindEffects,
  hydrate: hydrateEffects,
};
