/**
 * A counter on the wire between a node and its S3 server: a TCP relay that passes bytes on unchanged and counts those
 * that go to the server. What the product says of itself is checked against it. It sees whole requests, heads included
 * (about 1 KiB each), and bytes that the node's kernel had taken but the node never heard an answer for.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { TransientError } from '@openservice/domain';

export class WireMeter {
  readonly #target: { host: string; port: number };
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #sent = 0;

  /** `target`: an `http://` endpoint. TLS cannot be relayed under another name: see `canMeter`. */
  constructor(target: string) {
    const url = new URL(target);
    this.#target = { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 80) };
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#relay(client));
  }

  static canMeter(endpoint: string): boolean {
    return new URL(endpoint).protocol === 'http:';
  }

  /** Bytes that clients have sent through it. */
  get sentBytes(): number {
    return this.#sent;
  }

  /** Listens on loopback; answers the endpoint to use instead of the target. */
  async start(): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    const address = this.#server.address();
    if (address === null || typeof address === 'string')
      throw new TransientError('no_port', 'The wire meter got no port to listen on.');
    return `http://127.0.0.1:${address.port}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #relay(client: Socket): void {
    const server = connect({ ...this.#target, allowHalfOpen: true });
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
    }
    // A node that is killed resets its connections: that is what the meter is there to see, not an error of it.
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroySoon();
      });
    }
    client.on('data', (bytes: Buffer) => {
      this.#sent += bytes.length;
    });
    client.pipe(server);
    server.pipe(client);
  }
}
