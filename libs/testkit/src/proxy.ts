import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { reset } from './reset.ts';

/** A TCP relay on the loopback with faults that can be set while it runs. */
export interface Proxy {
  readonly port: number;
  /** The target's URL with this relay in its place; `http://…` where the target was given as host and port. */
  readonly url: string;
  /** Bytes that came from clients and went to the target, and those that went back. */
  readonly bytes: { toTarget: number; toClient: number };
  /** A server that died: present connections are reset, new ones are closed at once, until `allow`. */
  refuse(): void;
  allow(): void;
  /** What arrives is swallowed both ways, the connections stay: a network that has gone silent. */
  drop(on: boolean): void;
  /** Every piece waits so long, both ways. */
  delay(ms: number): void;
  /** Resets all present connections. */
  cut(): void;
  close(): Promise<void>;
}

export async function startProxy(target: { host?: string; port: number } | string): Promise<Proxy> {
  const to = typeof target === 'string' ? { host: new URL(target).hostname, port: Number(new URL(target).port) } : target;
  const state = { refusing: false, dropping: false, delayMs: 0 };
  const bytes = { toTarget: 0, toClient: 0 };
  const open = new Set<Socket>();

  const carry = (from: Socket, into: Socket, way: keyof typeof bytes) => {
    open.add(from);
    from.on('data', (part) => {
      if (state.dropping) return;
      bytes[way] += part.length;
      const write = () => {
        if (!into.destroyed && !into.write(part)) {
          from.pause();
          into.once('drain', () => from.resume());
        }
      };
      if (state.delayMs > 0) setTimeout(write, state.delayMs);
      else write();
    });
    from.on('end', () => setTimeout(() => into.end(), state.delayMs));
    // A reset of one side is one of the other; its close tells the rest.
    from.on('error', () => into.destroy());
    from.on('close', () => {
      open.delete(from);
      setTimeout(() => into.end(), state.delayMs);
    });
  };
  const server = createServer({ allowHalfOpen: true }, (client) => {
    if (state.refusing) {
      client.destroy();
      return;
    }
    const upstream = connect({ host: to.host ?? '127.0.0.1', port: to.port, allowHalfOpen: true });
    carry(client, upstream, 'toTarget');
    carry(upstream, client, 'toClient');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const cut = () => {
    for (const socket of open) reset(socket);
  };
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const url = new URL(typeof target === 'string' ? target : 'http://127.0.0.1');
  url.host = `127.0.0.1:${port}`;
  return {
    port,
    url: url.href.replace(/\/$/, ''),
    bytes,
    refuse: () => {
      state.refusing = true;
      cut();
    },
    allow: () => {
      state.refusing = false;
    },
    drop: (on) => {
      state.dropping = on;
    },
    delay: (ms) => {
      state.delayMs = ms;
    },
    cut,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      cut();
      await closed;
    },
  };
}
