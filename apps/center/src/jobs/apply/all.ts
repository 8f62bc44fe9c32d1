/** What each kind of job means for the center's rows. A new kind is one file and one line here. */
import type { JobKind } from '@openservice/domain';
import { deleteEffects } from './delete.ts';
import type { KindEffects } from './effects.ts';
import { importEffects } from './import.ts';
import { restoreEffects } from './restore.ts';
import { uploadEffects } from './upload.ts';
import { verifyEffects } from './verify.ts';

export const KINDS: Readonly<Record<JobKind, KindEffects>> = {
  import: importEffects,
  upload: uploadEffects,
  restore: restoreEffects,
  delete: deleteEffects,
  verify: verifyEffects,
};
