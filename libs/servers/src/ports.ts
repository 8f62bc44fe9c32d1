import { createServer } from 'node:net';

/** Chosen by this process and perhaps not yet listened on: two choices at once must not get the same port. */
const handedOut = new Set<number>();

function listens(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address();
      const bound = typeof address === 'object' && address !== null ? address.port : undefined;
      server.close(() => resolve(bound));
    });
  });
}

/** A TCP port of the loopback that nobody listens on; `preferred` when it is free (it may be handed out again). */
export async function freePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && (await listens(preferred)) === preferred) {
    handedOut.add(preferred);
    return preferred;
  }
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = await listens(0);
    if (port !== undefined && !handedOut.has(port)) {
      handedOut.add(port);
      return port;
    }
  }
  throw new Error('No free TCP port was found on 127.0.0.1.');
}

/** The first free port from `first` upwards; taken ones are passed over. */
export async function freePortFrom(first: number): Promise<number> {
  for (let port = first; port < Math.min(first + 1000, 65536); port += 1) {
    if (!handedOut.has(port) && (await listens(port)) === port) {
      handedOut.add(port);
      return port;
    }
  }
  throw new Error(`All ports from ${first} upwards are taken on 127.0.0.1.`);
}

/** Says that a port chosen above is no longer meant to be used. */
export function releasePort(port: number): void {
  handedOut.delete(port);
}
