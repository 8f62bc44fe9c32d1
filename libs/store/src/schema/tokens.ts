import { EntitySchema } from 'typeorm';

export interface Token {
  id: string;
  name: string;
  role: 'viewer' | 'operator' | 'admin';
  token_hash: string;
  created_at: Date;
}

export const TokenSchema: EntitySchema<Token> = new EntitySchema<Token>({
  name: 'Token',
  tableName: 'tokens',
  columns: {
    id: { type: 'varchar', length: 40, primary: true },
    name: { type: 'varchar', length: 128 },
    role: { type: 'enum', enum: ['viewer', 'operator', 'admin'] },
    token_hash: { type: 'char', length: 64 },
    created_at: { type: 'datetime', precision: 3 },
  },
});
