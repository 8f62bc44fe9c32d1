export const CROWD = 'bench-crowd-';
export const crowdNode = (i: number): string => `${CROWD}${String(i).padStart(4, '0')}`;
/** Job `k` of node `i`, of `each` jobs a node; sorts before all that were made in earnest. */
export const crowdJob = (i: number, k: number, each: number): string =>
  `job-0000000000000001${String(i * each + k).padStart(10, '0')}`;
