/** The node's configuration, from the environment. */
import { isAbsolute, normalize } from 'node:path';
import { DEFAULT_POOL_PORT, isNodeId, MIB } from '@openservice/domain';
import { LOG_LEVELS, portText, readConfig, urlText } from '@openservice/runtime';
import { z } from 'zod';

const absoluteDirectory = z
  .string()
  .refine(isAbsolute, 'it must be an absolute directory')
  .transform((path) => normalize(path));

const hostText = z.string().regex(/^[\w.:-]{1,253}$/, 'it must be a host name or an address, without a port');

const variables = {
  OPENSERVICE_NODE_ID: z.string().refine(isNodeId, 'it must be lower case letters, digits and "-", 63 at most'),
  /** Holds the journal, uploads, caches, the exported pool and the certificate of the pool server; one process at a time. */
  OPENSERVICE_DATA_DIR: absoluteDirectory,
  /** Directories that imports may read and restores may write, separated by ":"; not set: none. */
  OPENSERVICE_IMPORT_ROOTS: z
    .string()
    .default('')
    .transform((text) => text.split(':').filter((path) => path !== ''))
    .refine((paths) => paths.every((path) => isAbsolute(path)), 'it must be absolute directories separated by ":"'),
  OPENSERVICE_REDIS_URL: urlText('redis', 'rediss'),
  OPENSERVICE_NATS_URL: urlText('nats', 'tls'),
  /** The address that the pool server listens on; not set: this machine alone. `0.0.0.0` for other nodes to reach this node's pools. */
  OPENSERVICE_POOL_HOST: hostText.default('127.0.0.1'),
  /** The port that the pool server listens on. */
  OPENSERVICE_POOL_PORT: portText.default(DEFAULT_POOL_PORT),
  /** The host name that others reach the pool server by; not set: that of OPENSERVICE_POOL_HOST, or of the machine where that is all addresses. */
  OPENSERVICE_POOL_ADVERTISE: hostText.optional(),
  /** The address that live disks are served on over NBD; not set: this machine alone. */
  OPENSERVICE_NBD_HOST: hostText.default('127.0.0.1'),
  /** The port that live disks are served on; 0: any that is free. */
  OPENSERVICE_NBD_PORT: portText.default(10_809),
  /** The host name that clients reach live disks by; not set: that of OPENSERVICE_NBD_HOST, or of the machine where that is all addresses. */
  OPENSERVICE_NBD_ADVERTISE: hostText.optional(),
  /** TLS for NBD over TCP, with the node's own certificate. The Unix socket is always in the clear. */
  OPENSERVICE_NBD_TLS: z.enum(['off', 'optional', 'required']).default('off'),
  /** MiB of memory for what live disks have read of their blocks, over all disks. */
  OPENSERVICE_CACHE_MIB: z.coerce
    .number()
    .int('it must be an integer')
    .min(4, 'it must be 4 at least')
    .max(1_048_576)
    .default(128),
  OPENSERVICE_LOG_LEVEL: z.enum(LOG_LEVELS).default('info'),
};

export interface NodeConfig {
  readonly nodeId: string;
  readonly dataDir: string;
  readonly importRoots: readonly string[];
  readonly redisUrl: string;
  readonly natsUrl: string;
  readonly poolHost: string;
  readonly poolPort: number;
  readonly poolAdvertise: string | null;
  readonly nbdHost: string;
  readonly nbdPort: number;
  readonly nbdAdvertise: string | null;
  readonly nbdTls: 'off' | 'optional' | 'required';
  readonly cacheBytes: number;
  readonly logLevel: (typeof LOG_LEVELS)[number];
}

/** PermanentError `bad_config`. */
export function readNodeConfig(environment: Record<string, string | undefined>): NodeConfig {
  const given = readConfig(variables, environment);
  return Object.freeze({
    nodeId: given.OPENSERVICE_NODE_ID,
    dataDir: given.OPENSERVICE_DATA_DIR,
    importRoots: given.OPENSERVICE_IMPORT_ROOTS,
    redisUrl: given.OPENSERVICE_REDIS_URL,
    natsUrl: given.OPENSERVICE_NATS_URL,
    poolHost: given.OPENSERVICE_POOL_HOST,
    poolPort: given.OPENSERVICE_POOL_PORT,
    poolAdvertise: given.OPENSERVICE_POOL_ADVERTISE ?? null,
    nbdHost: given.OPENSERVICE_NBD_HOST,
    nbdPort: given.OPENSERVICE_NBD_PORT,
    nbdAdvertise: given.OPENSERVICE_NBD_ADVERTISE ?? null,
    nbdTls: given.OPENSERVICE_NBD_TLS,
    cacheBytes: given.OPENSERVICE_CACHE_MIB * MIB,
    logLevel: given.OPENSERVICE_LOG_LEVEL,
  });
}
