/** Every connection between processes passes one of these, so that each can be broken by itself. */

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { type Proxy as Relay, startProxy } from '@openservice/testkit';

export class Links {
  readonly #all = new Map<string, Relay>();

  get names(): string[] {
    return [...this.#all.keys()];
  }

  /** `name`: `<who>:<to whom>`. Answers the URL to use in place of `url`. */
  async add(name: string, url: string): Promise<string> {
    const proxy = await startProxy(url);
    this.#all.set(name, proxy);
    const through = new URL(url);
    through.host = `127.0.0.1:${proxy.port}`;
    return through.href.replace(/\/$/, '');
  }

  /** Listens on `port` of 127.0.0.1 itself, in front of `target`. */
  async addAt(name: string, port: number, target: { host: string; port: number }): Promise<void> {
    this.#all.set(name, await startProxy(target, { port }));
  }

  get(name: string): Relay {
    const proxy = this.#all.get(name);
    if (proxy === undefined) throw new Error(`There is no link ${name}.`);
    return proxy;
  }

  get bytes(): number {
    return [...this.#all.values()].reduce((sum, { bytes }) => sum + bytes.toClient + bytes.toTarget, 0);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#all.values()].map((proxy) => proxy.close()));
  }
}

/** Whether a second address of the loopback can be listened on, as on Linux; elsewhere it has to be set up first. */
export async function hasSecondLoopback(host: string): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(0, host);
    await once(server, 'listening');
    const address = server.address();
    const socket = connect({ host, port: typeof address === 'object' && address !== null ? address.port : 0 });
    await once(socket, 'connect');
    socket.destroy();
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
