import type { Lab } from '../lab.ts';
import type { Row } from '../row.ts';
import { apiOfManyRows } from './api.ts';
import { burstsOfJobs } from './bursts.ts';
import { sentAgainAfterKill } from './crash.ts';
import { dedupBesideBackups } from './dedup.ts';
import { dispatch } from './dispatch.ts';
import { instancesBesideNbdServers } from './instances.ts';
import { localCopyBesideCp } from './local-copy.ts';
import { manyNodes } from './nodes.ts';
import { memoryOfLargePool } from './pool-size.ts';
import { hugeBesideSmall } from './sparse.ts';
import { importBesideCp, s3BesideRclone } from './transfers.ts';

/** What `--only` names. */
export const GROUPS: Readonly<Record<string, (lab: Lab, repetitions: number) => Promise<Row[]>>> = {
  dispatch,
  bursts: burstsOfJobs,
  nodes: manyNodes,
  import: importBesideCp,
  copy: localCopyBesideCp,
  dedup: dedupBesideBackups,
  s3: s3BesideRclone,
  sparse: hugeBesideSmall,
  'pool-size': memoryOfLargePool,
  instances: instancesBesideNbdServers,
  crash: sentAgainAfterKill,
  // Last: it leaves a million rows behind.
  api: apiOfManyRows,
};
