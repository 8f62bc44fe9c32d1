import { PermanentError } from '@openservice/domain';
import { until } from './probe.ts';

const DEFAULT_PORTS: Record<string, number> = { 'mysql:': 3306, 'redis:': 6379, 'rediss:': 6379, 'nats:': 4222, 'tls:': 4222 };

/**
 * A server's URL from the environment, once it was seen to answer; undefined where the variable is not set.
 * Throws PermanentError `invalid_url` or `server_unreachable`, naming the variable.
 */
export async function givenUrl(
  variable: string,
  answers: (host: string, port: number) => Promise<boolean>,
): Promise<{ url: string } | undefined> {
  const text = process.env[variable];
  if (text === undefined || text === '') return undefined;
  // NATS takes a list of servers; one that answers is enough.
  for (const one of text.split(',')) {
    const url = URL.canParse(one.trim()) ? new URL(one.trim()) : undefined;
    if (url === undefined || url.hostname === '') throw new PermanentError('invalid_url', `${variable} is not a URL.`);
    const port = url.port === '' ? (DEFAULT_PORTS[url.protocol] ?? 0) : Number(url.port);
    if (await until(() => answers(url.hostname, port), { limitMs: 5_000, everyMs: 250 })) return { url: text };
  }
  throw new PermanentError(
    'server_unreachable',
    `The server that ${variable} names does not answer; start it, or unset ${variable}.`,
  );
}
