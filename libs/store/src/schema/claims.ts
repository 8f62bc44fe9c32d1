import { EntitySchema } from 'typeorm';

export interface Claim {
  resource: string;
  job_id: string;
  mode: 'shared' | 'exclusive';
}

export const ClaimSchema: EntitySchema<Claim> = new EntitySchema<Claim>({
  name: 'Claim',
  tableName: 'claims',
  columns: {
    resource: { type: 'varchar', length: 160, primary: true },
    job_id: { type: 'varchar', length: 40, primary: true },
    mode: { type: 'enum', enum: ['shared', 'exclusive'] },
  },
});
