import { EntitySchema } from 'typeorm';

/** What another center shows to use a pool of one of this center's nodes. */
export interface AccessKey {
  access_key: string;
  name: string;
  /** The pool it opens: an id, or `<node>/<name>` of one that a node exports. */
  pool: string;
  secret_key_sealed: string;
  created_at: Date;
}

export const AccessKeySchema: EntitySchema<AccessKey> = new EntitySchema<AccessKey>({
  name: 'AccessKey',
  tableName: 'access_keys',
  columns: {
    access_key: { type: 'varchar', length: 40, primary: true },
    name: { type: 'varchar', length: 128 },
    pool: { type: 'varchar', length: 128 },
    secret_key_sealed: { type: 'varchar', length: 512 },
    created_at: { type: 'datetime', precision: 3 },
  },
});
