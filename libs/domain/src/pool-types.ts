/** The words of the seed for pools. A type is a layout over a backend (docs/ARCHITECTURE.md, Pools). */
export const POOL_TYPES = ['local', 'remote', 's3', 'dedup'] as const;
export type PoolType = (typeof POOL_TYPES)[number];

/** Pool types that have a driver today; the others are refused by name with a clear error. */
export const SUPPORTED_POOL_TYPES: readonly PoolType[] = ['local', 's3'];

export const S3_SCHEMES = ['aws', 'oss', 'cos', 'other'] as const;
export type S3Scheme = (typeof S3_SCHEMES)[number];

/** All a node needs to open a pool. Holds secrets: it is asked for when needed, never stored, journalled or logged. */
export type PoolSpec = LocalPoolSpec | S3PoolSpec;

export interface LocalPoolSpec {
  id: string;
  type: 'local';
  node_id: string;
  /** Absolute directory on that node. */
  path: string;
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
}
