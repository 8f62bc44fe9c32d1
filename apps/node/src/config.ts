/** The node's configuration, from the environment. */
import { isAbsolute, normalize } from 'node:path';
import { DEFAULT_POOL_PORT, isNodeId } from '@openservice/domain';
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
  /** Kept for live disks; nothing listens there yet, so the node tells no endpoint. */
  OPENSERVICE_NBD_PORT: portText.optional(),
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
    logLevel: given.OPENSERVICE_LOG_LEVEL,
  });
}
