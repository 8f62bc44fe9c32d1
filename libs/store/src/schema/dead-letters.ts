import { EntitySchema } from 'typeorm';
import { bigintNumber } from './transformers.ts';

export interface DeadLetter {
  id: number;
  subject: string;
  reason: string;
  body: string;
  at: Date;
  /** When it was last given to the ingest again, and what became of it then. */
  redriven_at: Date | null;
  outcome: 'applied' | 'recorded' | 'duplicate' | 'refused' | null;
}

export const DeadLetterSchema: EntitySchema<DeadLetter> = new EntitySchema<DeadLetter>({
  name: 'DeadLetter',
  tableName: 'dead_letters',
  columns: {
    id: { type: 'bigint', transformer: bigintNumber, primary: true, generated: 'increment' },
    subject: { type: 'varchar', length: 255 },
    reason: { type: 'varchar', length: 2000 },
    body: { type: 'mediumtext' },
    at: { type: 'datetime', precision: 3 },
    redriven_at: { type: 'datetime', precision: 3, nullable: true },
    outcome: { type: 'varchar', length: 16, nullable: true },
  },
});
