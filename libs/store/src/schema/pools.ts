import type { PoolType, S3Scheme } from '@openservice/domain';
import { EntitySchema } from 'typeorm';
import { bigintNumber, tinyintBoolean } from './transformers.ts';

export interface Pool {
  id: string;
  name: string;
  type: PoolType;
  state: 'available' | 'unavailable' | 'deleting';
  node_id: string | null;
  path: string | null;
  host: string | null;
  port: number | null;
  s3_scheme: S3Scheme | null;
  endpoint: string | null;
  bucket: string | null;
  region: string | null;
  https: boolean | null;
  prefix: string | null;
  access_key: string | null;
  secret_key_sealed: string | null;
  /** `remote`: the id or exported name of the pool on that server. */
  remote_pool: string | null;
  /** `remote`: SHA-256 of the server's certificate, hex. */
  tls_fingerprint: string | null;
  /** The pool's own key, sealed; null: not encrypted. */
  pool_key_sealed: string | null;
  fencing: 'strict' | 'advisory';
  stored_bytes: number;
  logical_bytes: number;
  capacity_bytes: number | null;
  block_count: number;
  /** Jobs that may be dispatched and not ended at a time; null: no limit. */
  max_jobs: number | null;
  /** Bytes a second of all its jobs together, on each node; null: no limit. */
  bandwidth: number | null;
  created_at: Date;
}

export const PoolSchema: EntitySchema<Pool> = new EntitySchema<Pool>({
  name: 'Pool',
  tableName: 'pools',
  columns: {
    id: { type: 'varchar', length: 40, primary: true },
    name: { type: 'varchar', length: 128 },
    type: { type: 'enum', enum: ['local', 'remote', 's3', 'dedup'] },
    state: { type: 'enum', enum: ['available', 'unavailable', 'deleting'] },
    node_id: { type: 'varchar', length: 64, nullable: true },
    path: { type: 'varchar', length: 1024, nullable: true },
    host: { type: 'varchar', length: 255, nullable: true },
    port: { type: 'int', nullable: true },
    s3_scheme: { type: 'enum', enum: ['aws', 'oss', 'cos', 'other'], nullable: true },
    endpoint: { type: 'varchar', length: 512, nullable: true },
    bucket: { type: 'varchar', length: 255, nullable: true },
    region: { type: 'varchar', length: 64, nullable: true },
    https: { type: 'tinyint', transformer: tinyintBoolean, nullable: true },
    prefix: { type: 'varchar', length: 512, nullable: true },
    access_key: { type: 'varchar', length: 255, nullable: true },
    secret_key_sealed: { type: 'varchar', length: 1024, nullable: true },
    remote_pool: { type: 'varchar', length: 128, nullable: true },
    tls_fingerprint: { type: 'char', length: 64, nullable: true },
    pool_key_sealed: { type: 'varchar', length: 512, nullable: true },
    fencing: { type: 'enum', enum: ['strict', 'advisory'] },
    stored_bytes: { type: 'bigint', transformer: bigintNumber, default: 0 },
    logical_bytes: { type: 'bigint', transformer: bigintNumber, default: 0 },
    capacity_bytes: { type: 'bigint', transformer: bigintNumber, nullable: true },
    block_count: { type: 'int', default: 0 },
    max_jobs: { type: 'int', nullable: true },
    bandwidth: { type: 'double', nullable: true },
    created_at: { type: 'datetime', precision: 3 },
  },
});
