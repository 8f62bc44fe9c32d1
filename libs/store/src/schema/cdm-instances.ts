import { EntitySchema } from 'typeorm';
import { bigintNumber, tinyintBoolean } from './transformers.ts';

export const CDM_INSTANCE_STATES = ['loading', 'loaded', 'removing', 'error'] as const;
export type CdmInstanceState = (typeof CDM_INSTANCE_STATES)[number];

/** A block, or the blocks of a set, served live by a node. */
export interface CdmInstance {
  id: string;
  name: string;
  node_id: string;
  /** The set that it was loaded from; null: it was one block. */
  set_id: string | null;
  state: CdmInstanceState;
  read_only: boolean;
  error_code: string | null;
  error_message: string | null;
  created_at: Date;
}

export interface CdmInstanceDisk {
  instance_id: string;
  /** 0, 1, … */
  disk_index: number;
  block_id: string;
  /** Where its base is read from. */
  pool_id: string;
  size: number;
  /** As the node told last. */
  overlay_bytes: number;
}

export const CdmInstanceSchema: EntitySchema<CdmInstance> = new EntitySchema<CdmInstance>({
  name: 'CdmInstance',
  tableName: 'cdm_instances',
  columns: {
    id: { type: 'varchar', length: 40, primary: true },
    name: { type: 'varchar', length: 128 },
    node_id: { type: 'varchar', length: 64 },
    set_id: { type: 'varchar', length: 40, nullable: true },
    state: { type: 'enum', enum: [...CDM_INSTANCE_STATES] },
    read_only: { type: 'tinyint', transformer: tinyintBoolean },
    error_code: { type: 'varchar', length: 64, nullable: true },
    error_message: { type: 'varchar', length: 2000, nullable: true },
    created_at: { type: 'datetime', precision: 3 },
  },
});

export const CdmInstanceDiskSchema: EntitySchema<CdmInstanceDisk> = new EntitySchema<CdmInstanceDisk>({
  name: 'CdmInstanceDisk',
  tableName: 'cdm_instance_disks',
  columns: {
    instance_id: { type: 'varchar', length: 40, primary: true },
    disk_index: { type: 'int', primary: true },
    block_id: { type: 'varchar', length: 40 },
    pool_id: { type: 'varchar', length: 40 },
    size: { type: 'bigint', transformer: bigintNumber },
    overlay_bytes: { type: 'bigint', transformer: bigintNumber, default: 0 },
  },
});
