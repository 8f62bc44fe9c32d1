/** What a server that means no good can make of the client: an error, and nothing else. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectNbd } from '@openservice/nbd';
import { expect } from 'chai';
import { COMMAND, OPTION, OPTION_REPLY, OPTION_REPLY_MAGIC, REPLY, STRUCTURED_REPLY_MAGIC } from '../src/wire.ts';

const SIZE = 64 * 1024;
const never = new AbortController().signal;

/** One chunk of a structured reply. */
type Chunk = { type: number; done: boolean; body: Buffer };

/** Shakes hands as it should; what it answers to requests is the test's. */
class Liar {
  answers: (type: number) => Generator<Chunk> = function* () {};
  endlessInfo = false;
  readonly #server: Server;
  readonly uri: string;

  private constructor(server: Server, path: string) {
    this.#server = server;
    this.uri = `nbd+unix:///?socket=${path}`;
  }

  static async listen(path: string): Promise<Liar> {
    const server = createServer();
    const liar = new Liar(server, path);
    server.on('connection', (socket) => {
      socket.on('error', () => undefined);
      void liar.#talk(socket).catch(() => socket.destroy());
    });
    server.listen(path);
    await once(server, 'listening');
    return liar;
  }

  async close(): Promise<void> {
    this.#server.close();
  }

  async #talk(socket: Socket): Promise<void> {
    const greeting = Buffer.alloc(18);
    greeting.write('NBDMAGICIHAVEOPT', 'latin1');
    greeting.writeUInt16BE(3, 16);
    socket.write(greeting);
    let bytes = Buffer.alloc(0);
    const parts = socket[Symbol.asyncIterator]();
    const exactly = async (length: number): Promise<Buffer> => {
      while (bytes.length < length) {
        const next = await parts.next();
        if (next.done === true) throw new Error('gone');
        bytes = Buffer.concat([bytes, next.value as Buffer]);
      }
      const taken = bytes.subarray(0, length);
      bytes = bytes.subarray(length);
      return taken;
    };
    await exactly(4);
    for (let option = 0; option !== OPTION.go; ) {
      const head = await exactly(16);
      option = head.readUInt32BE(8);
      await exactly(head.readUInt32BE(12));
      await this.#agree(socket, option);
    }
    for (;;) {
      const request = await exactly(28);
      for (const { type, done, body } of this.answers(request.readUInt16BE(6))) {
        const head = Buffer.alloc(20);
        head.writeUInt32BE(STRUCTURED_REPLY_MAGIC, 0);
        head.writeUInt16BE(done ? 1 : 0, 4);
        head.writeUInt16BE(type, 6);
        request.copy(head, 8, 8, 16);
        head.writeUInt32BE(body.length, 16);
        await written(socket, Buffer.concat([head, body]));
      }
    }
  }

  async #agree(socket: Socket, option: number): Promise<void> {
    const reply = (type: number, data: Buffer): Promise<void> => {
      const head = Buffer.alloc(20);
      head.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0);
      head.writeUInt32BE(option, 8);
      head.writeUInt32BE(type, 12);
      head.writeUInt32BE(data.length, 16);
      return written(socket, Buffer.concat([head, data]));
    };
    if (option === OPTION.setMetaContext)
      await reply(OPTION_REPLY.metaContext, Buffer.from('\0\0\0\x01base:allocation', 'latin1'));
    if (option === OPTION.go) {
      const info = Buffer.alloc(12);
      info.writeBigUInt64BE(BigInt(SIZE), 2);
      info.writeUInt16BE(1, 10);
      do await reply(OPTION_REPLY.info, info);
      while (this.endlessInfo);
    }
    await reply(OPTION_REPLY.ack, Buffer.alloc(0));
  }
}

async function written(socket: Socket, bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => socket.write(bytes, (error) => (error == null ? resolve() : reject(error))));
}

function data(offset: number, length: number, done: boolean): Chunk {
  const body = Buffer.alloc(8 + length, 0x55);
  body.writeBigUInt64BE(BigInt(offset), 0);
  return { type: REPLY.data, done, body };
}

describe('the NBD client distrusts a server that', () => {
  let dir: string;
  let liar: Liar;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'nbd-'));
    liar = await Liar.listen(join(dir, 's'));
  });
  afterEach(async () => {
    await liar.close();
    await rm(dir, { recursive: true });
  });

  const code = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => 'nothing was refused',
      (error: { code?: string }) => error.code,
    );
  const reading = async (): Promise<unknown> => {
    const client = await connectNbd(liar.uri, { signal: never });
    const target = Buffer.alloc(SIZE, 0x11);
    const outcome = await code(client.read(0, target, never));
    await client.close();
    return outcome;
  };

  it('sends some bytes twice in place of others, which would be what the memory held before', async () => {
    liar.answers = function* () {
      yield data(0, SIZE / 2, false);
      yield data(0, SIZE / 2, true);
    };
    expect(await reading()).to.equal('nbd_protocol');
  });

  it('sends the halves in the wrong order, but all of them: that it may', async () => {
    liar.answers = function* () {
      yield data(SIZE / 2, SIZE / 2, false);
      yield data(0, SIZE / 2, true);
    };
    expect(await reading()).to.equal('nothing was refused');
  });

  it('tells of ranges without end', async () => {
    const body = Buffer.alloc(4 + 8 * 4096, 1);
    body.writeUInt32BE(1, 0);
    liar.answers = function* (type) {
      while (type === COMMAND.blockStatus) yield { type: REPLY.blockStatus, done: false, body };
    };
    const client = await connectNbd(liar.uri, { signal: never });
    const extents = async (): Promise<void> => {
      for await (const _ of client.extents(0, never)) break;
    };
    expect(await code(extents())).to.equal('nbd_protocol');
    await client.close();
  });

  it('goes on telling of its export', async () => {
    liar.endlessInfo = true;
    expect(await code(connectNbd(liar.uri, { signal: never }))).to.equal('nbd_protocol');
  });
});
