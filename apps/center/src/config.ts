/** The center's environment; docs and README list the same. */
import { LOG_LEVELS, portText, readConfig, urlText } from '@openservice/runtime';
import { z } from 'zod';

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
  OPENSERVICE_LOG_LEVEL: z.enum(LOG_LEVELS).default('info'),
  /** 32 bytes as hex or base64: the same for all centers of one database. Not set: a file of the data directory. */
  OPENSERVICE_MASTER_KEY: z.string().optional(),
};

export type CenterConfig = ReturnType<typeof centerConfig>;

/** PermanentError `bad_config` that names each wrong variable. */
export function centerConfig(environment: Record<string, string | undefined>) {
  return readConfig(shape, environment);
}
