import { EntitySchema } from 'typeorm';
import { bigintNumber, tinyintBoolean } from './transformers.ts';

export type NodeState = 'online' | 'suspect' | 'offline' | 'draining' | 'drained';

export interface Node {
  id: string;
  name: string;
  state: NodeState;
  epoch: number;
  version: string;
  kinds: string[];
  import_roots: string[];
  pool_endpoint: string | null;
  /** SHA-256 of the certificate of the pool server, hex. */
  pool_fingerprint: string | null;
  nbd_endpoint: string | null;
  /** The next heartbeat's reply asks the node for a sync. */
  sync_wanted: boolean;
  /** Jobs that may be dispatched and not ended at a time; null: no limit. */
  max_jobs: number | null;
  /** Bytes a second of all its jobs together; null: no limit. */
  bandwidth: number | null;
  last_seen_at: Date;
  created_at: Date;
}

export const NodeSchema: EntitySchema<Node> = new EntitySchema<Node>({
  name: 'Node',
  tableName: 'nodes',
  columns: {
    id: { type: 'varchar', length: 64, primary: true },
    name: { type: 'varchar', length: 128 },
    state: { type: 'enum', enum: ['online', 'suspect', 'offline', 'draining', 'drained'] },
    epoch: { type: 'bigint', transformer: bigintNumber },
    version: { type: 'varchar', length: 64 },
    kinds: { type: 'json' },
    import_roots: { type: 'json' },
    pool_endpoint: { type: 'varchar', length: 255, nullable: true },
    pool_fingerprint: { type: 'char', length: 64, nullable: true },
    nbd_endpoint: { type: 'varchar', length: 255, nullable: true },
    sync_wanted: { type: 'tinyint', transformer: tinyintBoolean, default: 0 },
    max_jobs: { type: 'int', nullable: true },
    bandwidth: { type: 'double', nullable: true },
    last_seen_at: { type: 'datetime', precision: 3 },
    created_at: { type: 'datetime', precision: 3 },
  },
});
