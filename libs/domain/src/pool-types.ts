/** The words of the seed for pools. A type is a layout over a backend (docs/ARCHITECTURE.md, Pools). */
export const POOL_TYPES = ['local', 'remote', 's3', 'dedup'] as const;
export type PoolType = (typeof POOL_TYPES)[number];

export const S3_SCHEMES = ['aws', 'oss', 'cos', 'other'] as const;
export type S3Scheme = (typeof S3_SCHEMES)[number];

/** Port of a node's pool server where nothing else is said. */
export const DEFAULT_POOL_PORT = 9527;

/** All a node needs to open a pool. Holds secrets: it is asked for when needed, never stored, journalled or logged. */
export type PoolSpec = LocalPoolSpec | DedupPoolSpec | S3PoolSpec | RemotePoolSpec;

export interface LocalPoolSpec {
  id: string;
  type: 'local';
  node_id: string;
  /** Absolute directory on that node. */
  path: string;
}

export interface DedupPoolSpec {
  id: string;
  type: 'dedup';
  node_id: string;
  /** Absolute directory on that node. */
  path: string;
  /** 32 bytes in hex; null: the pool is not encrypted. */
  encryption_key: string | null;
}

export interface S3PoolSpec {
  id: string;
  type: 's3';
  s3_scheme: S3Scheme;
  /** `http(s)://host[:port]`; null: the provider's own for `s3_scheme` and `region`. */
  endpoint: string | null;
  region: string;
  bucket: string;
  /** Key prefix inside the bucket, without slashes at its ends; may be empty. */
  prefix: string;
  access_key: string;
  secret_key: string;
  https: boolean;
  /** 32 bytes in hex; null: the pool is not encrypted. */
  encryption_key: string | null;
}

/** A pool behind a node's pool server: of another node of this center, or of another center. */
export interface RemotePoolSpec {
  id: string;
  type: 'remote';
  host: string;
  port: number;
  https: boolean;
  /** SHA-256 of the server's certificate (DER), hex, which is then the only one accepted; null: one that the system's authorities vouch for. */
  tls_fingerprint: string | null;
  /** On that server: the id of a pool, or the name of one that its node exports. */
  remote_pool: string;
  /** `center`: tokens come from this node's own center; else they are got with a key that the other center issued. */
  auth: { type: 'center' } | { type: 'access_key'; access_key: string; secret_key: string };
}
