import { EntitySchema } from 'typeorm';
import { bigintNumber } from './transformers.ts';

/** Which events a webhook is told; an empty list or null: any. */
export interface WebhookFilters {
  types: string[];
  job_id: string | null;
  block_id: string | null;
  node_id: string | null;
  pool_id: string | null;
}

export interface Webhook {
  id: string;
  name: string;
  url: string;
  filters: WebhookFilters;
  secret_sealed: string;
  /** `failing`: the last try failed. */
  state: 'active' | 'failing';
  /** Events up to this one were made into deliveries, or passed over by the filters. */
  position: number;
  /** Grows with each lease: whoever had an older one changes nothing any more. */
  lease_fence: number;
  leased_until: Date;
  error_message: string | null;
  failing_since: Date | null;
  created_at: Date;
}

export const WebhookSchema: EntitySchema<Webhook> = new EntitySchema<Webhook>({
  name: 'Webhook',
  tableName: 'webhooks',
  columns: {
    id: { type: 'varchar', length: 40, primary: true },
    name: { type: 'varchar', length: 128 },
    url: { type: 'varchar', length: 2048 },
    filters: { type: 'json' },
    secret_sealed: { type: 'varchar', length: 1024 },
    state: { type: 'enum', enum: ['active', 'failing'] },
    position: { type: 'bigint', transformer: bigintNumber },
    lease_fence: { type: 'bigint', transformer: bigintNumber, default: 0 },
    leased_until: { type: 'datetime', precision: 3 },
    error_message: { type: 'varchar', length: 2000, nullable: true },
    failing_since: { type: 'datetime', precision: 3, nullable: true },
    created_at: { type: 'datetime', precision: 3 },
  },
});

export interface WebhookDelivery {
  webhook_id: string;
  /** Of the event. */
  position: number;
  type: string;
  /** The bytes that are sent, and signed. */
  body: string;
  state: 'pending' | 'delivered' | 'failed';
  tries: number;
  next_at: Date;
  /** A delivery that is still pending then has failed. */
  expires_at: Date;
  /** Of the last answer. */
  status: number | null;
  error_message: string | null;
  updated_at: Date;
}

export const WebhookDeliverySchema: EntitySchema<WebhookDelivery> = new EntitySchema<WebhookDelivery>({
  name: 'WebhookDelivery',
  tableName: 'webhook_deliveries',
  columns: {
    webhook_id: { type: 'varchar', length: 40, primary: true },
    position: { type: 'bigint', transformer: bigintNumber, primary: true },
    type: { type: 'varchar', length: 64 },
    body: { type: 'mediumtext' },
    state: { type: 'enum', enum: ['pending', 'delivered', 'failed'] },
    tries: { type: 'int', default: 0 },
    next_at: { type: 'datetime', precision: 3 },
    expires_at: { type: 'datetime', precision: 3 },
    status: { type: 'int', nullable: true },
    error_message: { type: 'varchar', length: 2000, nullable: true },
    updated_at: { type: 'datetime', precision: 3 },
  },
});
