/** The HTTP server as a part: up before anything else, the last to go. */
import { once } from 'node:events';
import type { IncomingMessage, Server } from 'node:http';
import { serve } from '@hono/node-server';
import type { Logger, Part } from '@openservice/runtime';
import type { CenterApp } from './http/app.ts';
import { carriesContent } from './http/request.ts';

/** How long answers that are under way may still take at a stop, ms. */
const DRAIN_MS = 3_000;
/** A whole request takes this at most, ms; content that is sent takes as long as it takes, but never stands still for longer than IDLE_MS. */
const REQUEST_MS = 300_000;
const IDLE_MS = 180_000;

/** `port` 0: any that is free; the log says which. */
export function httpServer(app: CenterApp, host: string, port: number, log: Logger): Part {
  let server: Server | null = null;
  return {
    name: 'http',
    async start() {
      server = serve({ fetch: app.fetch, hostname: host, port }) as Server;
      limitTime(server);
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

/** The server's own limit would cut off content in the middle; all else keeps it. */
function limitTime(server: Server): void {
  server.requestTimeout = 0;
  server.on('request', (request: IncomingMessage) => {
    if (carriesContent(request.method, request.url?.split('?')[0] ?? '')) {
      request.setTimeout(IDLE_MS, () => request.destroy());
      return;
    }
    const late = setTimeout(() => {
      if (!request.complete) request.destroy();
    }, REQUEST_MS);
    request.once('close', () => clearTimeout(late));
  });
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
