/** Every table's schema. A new table is one file and one line here. */

import { AccessKeySchema } from './access-keys.ts';
import { AnomalySchema } from './anomalies.ts';
import { AuditRowSchema } from './audit.ts';
import { BlockSchema } from './blocks.ts';
import { CdmInstanceDiskSchema, CdmInstanceSchema } from './cdm-instances.ts';
import { ClaimSchema } from './claims.ts';
import { DeadLetterSchema } from './dead-letters.ts';
import { EventRowSchema } from './events.ts';
import { IdempotencyKeySchema } from './idempotency-keys.ts';
import { InboxRowSchema } from './inbox.ts';
import { JobAttemptSchema } from './job-attempts.ts';
import { JobTransitionSchema } from './job-transitions.ts';
import { JobSchema } from './jobs.ts';
import { NodeSchema } from './nodes.ts';
import { OutboxRowSchema } from './outbox.ts';
import { PoolSchema } from './pools.ts';
import { ReplicaSchema } from './replicas.ts';
import { BlockSetSchema } from './sets.ts';
import { TokenSchema } from './tokens.ts';
import { WebhookDeliverySchema, WebhookSchema } from './webhooks.ts';

export const SCHEMAS = [
  TokenSchema,
  NodeSchema,
  PoolSchema,
  BlockSetSchema,
  BlockSchema,
  ReplicaSchema,
  JobSchema,
  JobAttemptSchema,
  JobTransitionSchema,
  ClaimSchema,
  OutboxRowSchema,
  InboxRowSchema,
  DeadLetterSchema,
  IdempotencyKeySchema,
  AuditRowSchema,
  AccessKeySchema,
  CdmInstanceSchema,
  CdmInstanceDiskSchema,
  EventRowSchema,
  WebhookSchema,
  WebhookDeliverySchema,
  AnomalySchema,
];
