import { EntitySchema } from 'typeorm';
import { bigintNumber } from './transformers.ts';

export interface AuditRow {
  id: number;
  at: Date;
  token_id: string | null;
  action: string;
  resource: string;
  detail: Record<string, unknown>;
}

export const AuditRowSchema: EntitySchema<AuditRow> = new EntitySchema<AuditRow>({
  name: 'AuditRow',
  tableName: 'audit',
  columns: {
    id: { type: 'bigint', transformer: bigintNumber, primary: true, generated: 'increment' },
    at: { type: 'datetime', precision: 3 },
    token_id: { type: 'varchar', length: 40, nullable: true },
    action: { type: 'varchar', length: 64 },
    resource: { type: 'varchar', length: 160 },
    detail: { type: 'json' },
  },
});
