/** Every kind of work a node does. At start a node proves that it has exactly one handler for each. */
export const JOB_KINDS = [
  'import',
  'upload',
  'copy',
  'move',
  'restore',
  'delete',
  'undelete',
  'verify',
  'gc',
  'pool_verify',
  'rebuild',
  'load',
  'unload',
  'save',
  'rewind',
  'hydrate',
] as const;
export type JobKind = (typeof JOB_KINDS)[number];
