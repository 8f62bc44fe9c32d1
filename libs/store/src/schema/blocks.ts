import { EntitySchema } from 'typeorm';
import { bigintNumber } from './transformers.ts';

/** `trashed`: deleted, and to be had back until `purge_at`. */
export const BLOCK_STATES = ['creating', 'available', 'deleting', 'trashed', 'error'] as const;
export type BlockState = (typeof BLOCK_STATES)[number];

export interface Block {
  id: string;
  name: string;
  set_id: string | null;
  size: number;
  chunk_size: number;
  state: BlockState;
  root_digest: string | null;
  parent_block_id: string | null;
  source: Record<string, unknown> | null;
  error_code: string | null;
  error_message: string | null;
  /** When a trashed block is deleted for good, or a block whose content a client has still to send is given up. */
  purge_at: Date | null;
  /** The node that takes the content that a client sends; null for any other block. */
  content_node_id: string | null;
  created_at: Date;
}

export const BlockSchema: EntitySchema<Block> = new EntitySchema<Block>({
  name: 'Block',
  tableName: 'blocks',
  columns: {
    id: { type: 'varchar', length: 40, primary: true },
    name: { type: 'varchar', length: 255 },
    set_id: { type: 'varchar', length: 40, nullable: true },
    size: { type: 'bigint', transformer: bigintNumber },
    chunk_size: { type: 'int' },
    state: { type: 'enum', enum: [...BLOCK_STATES] },
    root_digest: { type: 'char', length: 64, nullable: true },
    parent_block_id: { type: 'varchar', length: 40, nullable: true },
    source: { type: 'json', nullable: true },
    error_code: { type: 'varchar', length: 64, nullable: true },
    error_message: { type: 'varchar', length: 2000, nullable: true },
    purge_at: { type: 'datetime', precision: 3, nullable: true },
    content_node_id: { type: 'varchar', length: 64, nullable: true },
    created_at: { type: 'datetime', precision: 3 },
  },
});
