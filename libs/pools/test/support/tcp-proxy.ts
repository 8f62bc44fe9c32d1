import { connect, createServer, type Server, type Socket } from 'node:net';

/** A way to a server that can be cut in the middle of a transfer. */
export interface TcpProxy {
  port: number;
  /** Breaks all connections and takes no more. */
  cut(): Promise<void>;
}

/** `onBytes` hears of all bytes that went to the server so far. */
export async function tcpProxy(host: string, port: number, onBytes: (sum: number) => void = () => {}): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let sum = 0;
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  };
  const server: Server = createServer((inward) => {
    const outward = connect(port, host);
    keep(inward);
    keep(outward);
    inward.on('data', (piece) => {
      sum += piece.length;
      onBytes(sum);
    });
    inward.pipe(outward);
    outward.pipe(inward);
    inward.on('close', () => outward.destroy());
    outward.on('close', () => inward.destroy());
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  return {
    port: address.port,
    cut: async () => {
      const closed = new Promise<void>((done) => server.close(() => done()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
