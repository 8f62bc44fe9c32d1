/** The center's environment; docs and README list the same. */
import { PermanentError } from '@openservice/domain';
import { LOG_LEVELS, portText, readConfig, urlText } from '@openservice/runtime';
import { z } from 'zod';
import { DEFAULT_TIMES, type Times } from './plane.ts';

const MOST_HOURS = 10 * 366 * 24;

/** Parts of an hour are fine: 0.5. */
const hoursText = z
  .string()
  .regex(/^\d{1,6}(\.\d{1,6})?$/, 'it must be a number of hours, like 24')
  .transform(Number)
  .refine((hours) => hours <= MOST_HOURS, { message: `it must be ${MOST_HOURS} at most` });

const msText = z
  .string()
  .regex(/^\d{2,7}$/, 'it must be a number of milliseconds, 10 to 9999999')
  .transform(Number);

const shape = {
  /** Where the center keeps its master key and its first token. */
  OPENSERVICE_DATA_DIR: z.string(),
  OPENSERVICE_HTTP_HOST: z.string().default('127.0.0.1'),
  OPENSERVICE_HTTP_PORT: portText.default(8080),
  OPENSERVICE_MYSQL_URL: urlText('mysql'),
  OPENSERVICE_REDIS_URL: urlText('redis', 'rediss'),
  /** Several servers of one cluster: separated by commas. */
  OPENSERVICE_NATS_URL: z
    .string()
    .refine((text) => text.split(',').every((url) => /^(nats|tls):\/\/\S+$/.test(url) && URL.canParse(url)), {
      message: 'it must be a URL like nats://host:port, several separated by commas',
    }),
  /** How long a deleted block stays in the trash; 0: it is removed at once. */
  OPENSERVICE_TRASH_HOURS: hoursText.default(24),
  /** How long a block waits for its content while a client sends nothing of it. */
  OPENSERVICE_CONTENT_HOURS: hoursText.refine((hours) => hours > 0, { message: 'it must be more than 0' }).default(24),
  /** How long events are kept for clients that come back. */
  OPENSERVICE_EVENT_HOURS: hoursText.refine((hours) => hours > 0, { message: 'it must be more than 0' }).default(168),
  /** How often nodes say that they are there, and when one that does not has lost its lease, is suspect, and is offline; the same for all centers. */
  OPENSERVICE_HEARTBEAT_MS: msText.default(DEFAULT_TIMES.heartbeatMs),
  OPENSERVICE_LEASE_MS: msText.default(DEFAULT_TIMES.leaseMs),
  OPENSERVICE_SUSPECT_MS: msText.default(DEFAULT_TIMES.suspectMs),
  OPENSERVICE_OFFLINE_MS: msText.default(DEFAULT_TIMES.offlineMs),
  OPENSERVICE_LOG_LEVEL: z.enum(LOG_LEVELS).default('info'),
  /** 32 bytes as hex or base64: the same for all centers of one database. Not set: a file of the data directory. */
  OPENSERVICE_MASTER_KEY: z.string().optional(),
};

export type CenterConfig = ReturnType<typeof centerConfig>;

/** PermanentError `bad_config` that names each wrong variable. */
export function centerConfig(environment: Record<string, string | undefined>) {
  return readConfig(shape, environment);
}

type Silences = Pick<
  CenterConfig,
  'OPENSERVICE_HEARTBEAT_MS' | 'OPENSERVICE_LEASE_MS' | 'OPENSERVICE_SUSPECT_MS' | 'OPENSERVICE_OFFLINE_MS'
>;

/** PermanentError `bad_config` where a node could lose its lease between two heartbeats, or be offline while it has it. */
export function timesOfConfig(config: Silences): Times {
  const times: Times = {
    heartbeatMs: config.OPENSERVICE_HEARTBEAT_MS,
    leaseMs: config.OPENSERVICE_LEASE_MS,
    suspectMs: config.OPENSERVICE_SUSPECT_MS,
    offlineMs: config.OPENSERVICE_OFFLINE_MS,
  };
  if (times.heartbeatMs * 2 > Math.min(times.leaseMs, times.suspectMs) || times.offlineMs < times.leaseMs * 1.5) {
    throw new PermanentError(
      'bad_config',
      'The environment cannot be used; OPENSERVICE_LEASE_MS and OPENSERVICE_SUSPECT_MS must be twice OPENSERVICE_HEARTBEAT_MS at least, and ' +
        'OPENSERVICE_OFFLINE_MS one and a half times OPENSERVICE_LEASE_MS: jobs leave a node only after its lease has surely ended.',
    );
  }
  return times;
}
