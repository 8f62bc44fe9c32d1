/** An invariant, by name. A checker looks at the evidence alone, so that it can be tried on evidence that is broken. A new one is a file and a line in all.ts. */
import type { SeenEvent } from '../client/watcher.ts';
import type { JournalEvidence } from '../evidence/journals.ts';
import type { PoolEvidence } from '../evidence/pools.ts';
import type { Rows } from '../evidence/rows.ts';
import type { Model } from '../model/model.ts';
import type { OwnEnd } from '../stack/programs.ts';

export interface Evidence {
  rows: Rows;
  models: readonly Model[];
  pools: readonly PoolEvidence[];
  journals: readonly JournalEvidence[];
  /** Of each node, every file of its data directory, relative to it. */
  nodeFiles: ReadonlyMap<string, readonly string[]>;
  /** Uploads in parts that S3 still holds open. */
  openUploads: readonly string[];
  /** How stored bytes compare with what clients wrote: null where equal; else what differs. By `<block> <pool>`. */
  contents: ReadonlyMap<string, string | null>;
  /** The same of files that restores wrote, by job, and of instances over NBD, by instance. */
  restored: ReadonlyMap<string, string | null>;
  live: ReadonlyMap<string, string | null>;
  /** What the last collection of each pool freed; bytes, by pool. */
  freedLast: ReadonlyMap<string, number>;
  /** What a follower of GET /events was told, in the order that it came. */
  events: readonly SeenEvent[];
  ownEnds: readonly OwnEnd[];
  /** Jobs that may rest: their client paused them and did not resume. */
  pausedByClient: ReadonlySet<string>;
  /** What GET /anomalies lists; sentences. */
  anomalies: readonly string[];
}

export interface Violation {
  check: string;
  what: string;
  job?: string | undefined;
  block?: string | undefined;
}

export interface Check {
  readonly name: string;
  /** What must hold, as a sentence. */
  readonly promise: string;
  find(evidence: Evidence): Omit<Violation, 'check'>[];
}

const TERMINAL = ['succeeded', 'failed', 'cancelled'];
export const isTerminal = (state: string): boolean => TERMINAL.includes(state);
