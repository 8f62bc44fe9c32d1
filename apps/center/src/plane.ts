/** What the parts of the control plane share. */
import type { Logger } from '@openservice/runtime';
import type { DataSource } from '@openservice/store';
import type { NatsConnection } from 'nats';

export interface Plane {
  readonly database: DataSource;
  readonly nc: NatsConnection;
  readonly log: Logger;
}

/** How often a node says that it is there, ms. */
export const HEARTBEAT_MS = 5_000;
/** Without an answer for this long a node stops committing and deleting, ms. */
export const LEASE_MS = 30_000;
