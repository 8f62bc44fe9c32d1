/** An event as it stands in the stream, and how it is shown: the same over server-sent events and to webhooks. */
import type { EventRow } from '@openservice/store';

export interface StoredEvent extends Omit<EventRow, 'id' | 'position'> {
  position: number;
}

export type RawEvent = Omit<StoredEvent, 'position' | 'data'> & {
  position: string | number;
  data: string | Record<string, unknown>;
};

export const EVENT_COLUMNS = 'position, type, job_id, block_id, node_id, pool_id, instance_id, data, at';

export function storedEvent(row: RawEvent): StoredEvent {
  // MariaDB's JSON is text, MySQL's comes parsed.
  const data = typeof row.data === 'string' ? (JSON.parse(row.data) as Record<string, unknown>) : row.data;
  return { ...row, position: Number(row.position), data };
}

export function eventView(event: StoredEvent) {
  return {
    id: event.position,
    type: event.type,
    at: event.at.toISOString(),
    job_id: event.job_id,
    block_id: event.block_id,
    node_id: event.node_id,
    pool_id: event.pool_id,
    instance_id: event.instance_id,
    data: event.data,
  };
}
