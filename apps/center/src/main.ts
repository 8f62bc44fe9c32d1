/** open-center: wiring only. */
import { readFileSync } from 'node:fs';
import { toFailure } from '@openservice/domain';
import { createLog, runProcess } from '@openservice/runtime';
import { type CenterConfig, centerConfig, timesOfConfig } from './config.ts';
import { makeApp } from './http/app.ts';
import { ensureAdminToken } from './http/auth.ts';
import { loadSecrets, type Secrets } from './secrets.ts';
import { httpServer } from './serve-http.ts';
import { wireCenter } from './wiring.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };

const HOUR_MS = 3_600_000;

async function main(config: CenterConfig, secrets: Secrets): Promise<void> {
  const log = createLog({ name: 'center', level: config.OPENSERVICE_LOG_LEVEL });
  const dataDir = config.OPENSERVICE_DATA_DIR;
  const trashMs = config.OPENSERVICE_TRASH_HOURS * HOUR_MS;
  const center = wireCenter({
    config,
    trashMs,
    times: timesOfConfig(config),
    secrets,
    version,
    log,
    onDatabase: async (database) => {
      await ensureAdminToken(database, dataDir);
    },
  });
  const app = makeApp({
    database: center.database,
    relay: center.relay,
    nodes: center.nodes,
    events: center.events,
    secrets,
    redisUrl: config.OPENSERVICE_REDIS_URL,
    ready: () => center.readiness.now(),
    log,
    trashMs,
    contentMs: config.OPENSERVICE_CONTENT_HOURS * HOUR_MS,
    dataDir,
    version,
  });
  const http = httpServer(app, config.OPENSERVICE_HTTP_HOST, config.OPENSERVICE_HTTP_PORT, log);
  const [connections, ...rest] = center.parts;
  // Stopped in the reverse: no new work, then no new requests, then the connections that answers under way still need.
  await runProcess(connections === undefined ? [http, ...rest] : [connections, http, ...rest], { log });
}

try {
  const config = centerConfig(process.env);
  await main(config, await loadSecrets(config.OPENSERVICE_DATA_DIR, config.OPENSERVICE_MASTER_KEY));
} catch (error) {
  process.stderr.write(`${toFailure(error).message}\n`);
  process.exitCode = 1;
}
