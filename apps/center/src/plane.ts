/** What the parts of the control plane share. */
import type { Logger } from '@openservice/runtime';
import type { DataSource } from '@openservice/store';
import type { NatsConnection } from 'nats';

/** How long nodes may be silent, ms. `offlineMs` is more than `leaseMs`: a node that is offline has surely lost its lease. */
export interface Times {
  /** How often a node says that it is there. */
  readonly heartbeatMs: number;
  /** Without an answer for this long a node stops committing and deleting. */
  readonly leaseMs: number;
  readonly suspectMs: number;
  /** From here on its jobs go to other nodes. */
  readonly offlineMs: number;
}

export const DEFAULT_TIMES: Times = { heartbeatMs: 5_000, leaseMs: 30_000, suspectMs: 30_000, offlineMs: 60_000 };

export interface Plane {
  readonly database: DataSource;
  readonly nc: NatsConnection;
  readonly log: Logger;
  /** Left out: DEFAULT_TIMES. */
  readonly times?: Times | undefined;
}

export const timesOf = (plane: Pick<Plane, 'times'>): Times => plane.times ?? DEFAULT_TIMES;
