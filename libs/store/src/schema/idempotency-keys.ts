import { EntitySchema } from 'typeorm';

export interface IdempotencyKey {
  token_id: string;
  idempotency_key: string;
  request_hash: string;
  status: number | null;
  headers: Record<string, string> | null;
  body: string | null;
  created_at: Date;
}

export const IdempotencyKeySchema: EntitySchema<IdempotencyKey> = new EntitySchema<IdempotencyKey>({
  name: 'IdempotencyKey',
  tableName: 'idempotency_keys',
  columns: {
    token_id: { type: 'varchar', length: 40, primary: true },
    idempotency_key: { type: 'varchar', length: 255, primary: true },
    request_hash: { type: 'char', length: 64 },
    status: { type: 'int', nullable: true },
    headers: { type: 'json', nullable: true },
    body: { type: 'mediumtext', nullable: true },
    created_at: { type: 'datetime', precision: 3 },
  },
});
