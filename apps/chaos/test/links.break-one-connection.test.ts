import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { type Proxy as Relay, startProxy } from '@openservice/testkit';
import { expect } from 'chai';

describe('a link under faults', () => {
  let server: ReturnType<typeof createServer>;
  let target: { port: number };
  const sockets: Socket[] = [];
  const relays: Relay[] = [];

  before(async () => {
    server = createServer((socket) => socket.on('error', () => socket.destroy()).pipe(socket));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    target = { port: typeof address === 'object' && address !== null ? address.port : 0 };
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    await Promise.all(relays.map((relay) => relay.close()));
    server.close();
  });

  async function relay(): Promise<Relay> {
    const made = await startProxy(target);
    relays.push(made);
    return made;
  }

  function open(port: number): { socket: Socket; got: () => string } {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    sockets.push(socket);
    let text = '';
    socket.on('data', (part) => {
      text += part.toString();
    });
    return { socket, got: () => text };
  }
  const until = async (done: () => boolean) => {
    for (const end = performance.now() + 5_000; !done(); ) {
      if (performance.now() > end) throw new Error('it did not come');
      await new Promise((resolve) => setImmediate(resolve));
    }
  };

  it('stalled holds everything back, and loses nothing', async () => {
    const proxy = await relay();
    const { socket, got } = open(proxy.port);
    socket.write('one');
    await until(() => got() === 'one');
    proxy.stall(true);
    socket.write('two');
    await until(() => proxy.bytes.toTarget === 6);
    await new Promise((resolve) => setImmediate(resolve));
    expect(got()).equal('one');
    socket.write('three');
    proxy.stall(false);
    await until(() => got() === 'onetwothree');
  });

  it('delayed keeps the order when the delay ends', async () => {
    const proxy = await relay();
    const { socket, got } = open(proxy.port);
    socket.write('a');
    await until(() => got() === 'a');
    proxy.delay(150);
    socket.write('b');
    await until(() => proxy.bytes.toTarget === 2);
    proxy.delay(0);
    socket.write('c');
    await until(() => got().length === 3);
    expect(got()).equal('abc');
  });

  it('halved passes half of the next piece and resets', async () => {
    const proxy = await relay();
    const { socket, got } = open(proxy.port);
    socket.write('a');
    await until(() => got() === 'a');
    proxy.halve();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write('0123456789');
    await closed;
    expect(got().length).at.most(6);
  });
});
