/** Every migration, oldest first. A new one is one file and one line here. */
import type { MigrationInterface } from 'typeorm';
import { Foundation1763800000001 } from './0001-foundation.ts';
import { StorageEngine1763900000002 } from './0002-storage-engine.ts';
import { Instances1764000000003 } from './0003-instances.ts';
import { JobControl1764100000004 } from './0004-job-control.ts';
import { Events1764200000005 } from './0005-events.ts';
import { Anomalies1764300000006 } from './0006-anomalies.ts';
import { Lists1764400000007 } from './0007-lists.ts';

export const MIGRATIONS: (new () => MigrationInterface)[] = [
  Foundation1763800000001,
  StorageEngine1763900000002,
  Instances1764000000003,
  JobControl1764100000004,
  Events1764200000005,
  Anomalies1764300000006,
  Lists1764400000007,
];
