/** The HTTP server as a part: up before anything else, the last to go. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import { serve } from '@hono/node-server';
import type { Logger, Part } from '@openservice/runtime';
import type { CenterApp } from './http/app.ts';

/** How long answers that are under way may still take at a stop, ms. */
const DRAIN_MS = 3_000;

/** `port` 0: any that is free; the log says which. */
export function httpServer(app: CenterApp, host: string, port: number, log: Logger): Part {
  let server: Server | null = null;
  return {
    name: 'http',
    async start() {
      server = serve({ fetch: app.fetch, hostname: host, port }) as Server;
      await once(server, 'listening');
      const address = server.address();
      const at = typeof address === 'object' ? address?.port : port;
      log.info({ host, port: at }, 'HTTP is up.');
    },
    async stop() {
      if (server !== null) await close(server);
      server = null;
      await app.close();
    },
  };
}

async function close(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  const late = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
  await closed;
  clearTimeout(late);
}
