/**
 * Servers of one test file: MySQL, NATS and Redis of its own, since tests here kill and empty them; S3 is the one of the whole run,
 * each pool under a prefix of its own.
 */
import { join } from 'node:path';
import { freePort, type S3Access, type Server, startMysql, startNats, startRedis } from '@openservice/servers';

export { freePort };

export interface TestServer {
  readonly url: string;
  /** SIGKILL. */
  kill(): void;
  /** Again, at the same address with the same data. */
  start(): Promise<void>;
}

export interface TestServers {
  mysql: TestServer;
  redis: TestServer;
  nats: TestServer;
  s3: S3Access;
  stop(): Promise<void>;
}

function s3FromEnvironment(): S3Access {
  const value = (name: string): string => {
    const text = process.env[`OPENSERVICE_TEST_S3_${name}`];
    if (text === undefined) throw new Error(`OPENSERVICE_TEST_S3_${name} is not set: run these tests with \`npm test\`.`);
    return text;
  };
  return {
    endpoint: value('ENDPOINT'),
    region: value('REGION'),
    access_key: value('ACCESS_KEY'),
    secret_key: value('SECRET_KEY'),
    bucket: value('BUCKET'),
  };
}

const asTestServer = (server: Server<{ url: string }>): TestServer => ({
  url: server.address.url,
  kill: () => server.kill('SIGKILL'),
  start: () => server.start(),
});

export async function startTestServers(dir: string): Promise<TestServers> {
  const s3 = s3FromEnvironment();
  const options = { dir: join(dir, 'servers') };
  const [mysql, redis, nats] = await Promise.all([startMysql(options), startRedis(options), startNats(options)]);
  return {
    mysql: asTestServer(mysql),
    redis: asTestServer(redis),
    nats: asTestServer(nats),
    s3,
    async stop() {
      for (const server of [nats, redis, mysql]) await server.stop();
    },
  };
}
