/** Which events somebody wants. One filter for streams and webhooks. */
import type { StoredEvent } from './stored-event.ts';

export interface EventFilter {
  /** `job.failed`, or `job` for all that begin so; empty: any. */
  types?: readonly string[] | undefined;
  job_id?: string | null | undefined;
  block_id?: string | null | undefined;
  node_id?: string | null | undefined;
  pool_id?: string | null | undefined;
  instance_id?: string | null | undefined;
}

const RESOURCES = ['job_id', 'block_id', 'node_id', 'pool_id', 'instance_id'] as const;

export function isWanted(filter: EventFilter, event: Pick<StoredEvent, 'type' | (typeof RESOURCES)[number]>): boolean {
  const { types = [] } = filter;
  if (types.length > 0 && !types.some((type) => event.type === type || event.type.startsWith(`${type}.`))) return false;
  return RESOURCES.every((name) => filter[name] === undefined || filter[name] === null || filter[name] === event[name]);
}
