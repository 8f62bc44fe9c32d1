import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { expect } from 'chai';
import { freshPrefix, startProxy, waitFor } from '../src/index.ts';
import { reset } from '../src/reset.ts';

describe('the TCP proxy of the tests', () => {
  it('carries and counts bytes both ways, refuses while told to, and carries again', async () => {
    const echo = createServer((socket) => socket.on('error', () => socket.destroy()).pipe(socket));
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
    const address = echo.address();
    const proxy = await startProxy({ port: typeof address === 'object' ? (address?.port ?? 0) : 0 });
    const talk = async () => {
      const socket = connect(proxy.port, '127.0.0.1');
      // The reset at the end of the test is expected.
      socket.on('error', () => undefined);
      socket.write('hello');
      const [answer] = (await once(socket, 'data')) as [Buffer];
      return { socket, answer: answer.toString() };
    };
    const first = await talk();
    expect(first.answer).equal('hello');
    expect(proxy.bytes).deep.equal({ toTarget: 5, toClient: 5 });
    const reset = once(first.socket, 'error');
    proxy.refuse();
    await reset;
    const refused = connect(proxy.port, '127.0.0.1');
    await new Promise((resolve) => refused.on('error', () => undefined).once('close', resolve));
    proxy.allow();
    expect((await talk()).answer).equal('hello');
    await proxy.close();
    echo.close();
  });

  it('cuts a connection whose end is under way, and leaves nothing of it', async () => {
    const server = createServer((socket) => socket.on('error', () => undefined).resume());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const socket = connect({ port: typeof address === 'object' ? (address?.port ?? 0) : 0, allowHalfOpen: true });
    await once(socket, 'connect');
    const closed = once(socket, 'close');
    socket.end();
    reset(socket);
    await closed;
    server.close();
    await once(server, 'close');
  });

  it('says what it waited for', async () => {
    const error = await waitFor(freshPrefix('a-thing'), () => false, 30).catch((reason: Error) => reason.message);
    expect(error).match(/Waited 30 ms for: a-thing-[0-9a-f]{12}/);
  });
});
