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
  /** What arrives is swallowed both ways, the connections stay: a network that has gone silent. Those of before lack bytes afterwards: cut them. */
  drop(on: boolean): void;
  /** Nothing passes either way, and nothing is lost: what arrives waits until it is turned off. */
  stall(on: boolean): void;
  /** Every piece waits so long, both ways; their order stays. */
  delay(ms: number): void;
  /** Of the next piece of each connection only the first half passes; then the connection is reset. */
  halve(): void;
  /** Resets all present connections. */
  cut(): void;
  close(): Promise<void>;
}

export interface ProxyOptions {
  /** Default: any that is free. */
  port?: number;
}

export async function startProxy(target: { host?: string; port: number } | string, options: ProxyOptions = {}): Promise<Proxy> {
  const to = typeof target === 'string' ? { host: new URL(target).hostname, port: Number(new URL(target).port) } : target;
  const state = { refusing: false, dropping: false, stalled: Promise.withResolvers<void>(), delayMs: 0 };
  state.stalled.resolve();
  const bytes = { toTarget: 0, toClient: 0 };
  const open = new Set<Socket>();
  const halving = new Set<Socket>();

  const carry = (from: Socket, into: Socket, way: keyof typeof bytes) => {
    open.add(from);
    // One after the other: a piece that need not wait must not overtake one that does.
    let turn: Promise<void> = Promise.resolve();
    const inTurn = (work: () => void) => {
      const due = performance.now() + state.delayMs;
      turn = turn.then(async () => {
        const wait = due - performance.now();
        if (wait > 1) await new Promise((resolve) => setTimeout(resolve, wait));
        await state.stalled.promise;
        work();
      });
    };
    from.on('data', (part) => {
      if (state.dropping) return;
      bytes[way] += part.length;
      if (halving.has(from)) {
        halving.delete(from);
        halving.delete(into);
        into.write(part.subarray(0, Math.floor(part.length / 2)), () => {
          reset(from);
          reset(into);
        });
        return;
      }
      inTurn(() => {
        if (!into.destroyed && !into.write(part)) {
          from.pause();
          into.once('drain', () => from.resume());
        }
      });
    });
    from.on('end', () => inTurn(() => into.end()));
    // A reset of one side is one of the other; its close tells the rest.
    from.on('error', () => into.destroy());
    from.on('close', () => {
      open.delete(from);
      halving.delete(from);
      inTurn(() => into.end());
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
  server.listen(options.port ?? 0, '127.0.0.1');
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
    stall: (on) => {
      state.stalled.resolve();
      if (on) state.stalled = Promise.withResolvers<void>();
    },
    delay: (ms) => {
      state.delayMs = ms;
    },
    halve: () => {
      for (const socket of open) halving.add(socket);
    },
    cut,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      state.stalled.resolve();
      cut();
      await closed;
    },
  };
}
