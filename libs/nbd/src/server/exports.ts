import type { BlockDevice } from '../device.ts';

/** What a connection serves. One device may stand under several names. */
export interface NbdExport {
  readonly name: string;
  /** For people; may be empty. */
  readonly description: string;
  readonly device: BlockDevice;
  /** Counted by the server. */
  readonly counters: NbdCounters;
}

export interface NbdCounters {
  bytesRead: number;
  bytesWritten: number;
  requests: number;
  connections: number;
}

export interface NbdExports {
  /** Null: there is none of that name. */
  find(name: string): NbdExport | null;
  /** What LIST tells. */
  list(): Iterable<{ name: string; description: string }>;
}

export function newCounters(): NbdCounters {
  return { bytesRead: 0, bytesWritten: 0, requests: 0, connections: 0 };
}
