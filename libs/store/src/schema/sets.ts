import { EntitySchema } from 'typeorm';

export interface BlockSet {
  id: string;
  name: string;
  description: string;
  labels: Record<string, string>;
  block_count: number;
  created_at: Date;
}

export const BlockSetSchema: EntitySchema<BlockSet> = new EntitySchema<BlockSet>({
  name: 'BlockSet',
  tableName: 'sets',
  columns: {
    id: { type: 'varchar', length: 40, primary: true },
    name: { type: 'varchar', length: 255 },
    description: { type: 'varchar', length: 1024 },
    labels: { type: 'json' },
    block_count: { type: 'int', default: 0 },
    created_at: { type: 'datetime', precision: 3 },
  },
});
