import { EntitySchema } from 'typeorm';

export interface Anomaly {
  id: string;
  kind: string;
  /** Who looks for it; a look replaces what was found before in its scope. */
  scope: string;
  resource: string;
  detail: string;
  remedy: string;
  since: Date;
  seen_at: Date;
  /** Of what is seen only in passing. Null: it goes when a look no longer finds it. */
  expires_at: Date | null;
  dismissed_at: Date | null;
}

export const AnomalySchema: EntitySchema<Anomaly> = new EntitySchema<Anomaly>({
  name: 'Anomaly',
  tableName: 'anomalies',
  columns: {
    id: { type: 'varchar', length: 40, primary: true },
    kind: { type: 'varchar', length: 32 },
    scope: { type: 'varchar', length: 128 },
    resource: { type: 'varchar', length: 160 },
    detail: { type: 'varchar', length: 2000 },
    remedy: { type: 'varchar', length: 2000 },
    since: { type: 'datetime', precision: 3 },
    seen_at: { type: 'datetime', precision: 3 },
    expires_at: { type: 'datetime', precision: 3, nullable: true },
    dismissed_at: { type: 'datetime', precision: 3, nullable: true },
  },
});
