/** Every kind of work a node does on blocks. At start a node proves that it has exactly one handler for each. */
export const JOB_KINDS = ['import', 'upload', 'restore', 'delete', 'verify'] as const;
export type JobKind = (typeof JOB_KINDS)[number];
