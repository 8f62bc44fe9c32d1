/** Clients that stop in the middle, never read, read slowly, or come by the thousand: each costs little, and the others notice nothing. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connectNbd, MemoryDevice } from '@openservice/nbd';
import { waitFor } from '@openservice/testkit';
import { expect } from 'chai';
import { exportOf, type Served, serve } from './support/serve.ts';

const MIB = 1024 * 1024;
const SILENCE = 400;
const never = new AbortController().signal;

const FLAGS = Buffer.from([0, 0, 0, 3]);

function exportName(name: string): Buffer {
  const head = Buffer.from('49484156454f5054000000010000000000', 'hex').subarray(0, 16);
  head.writeUInt32BE(name.length, 12);
  return Buffer.concat([head, Buffer.from(name)]);
}

function request(type: number, cookie: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt32BE(0x25609513, 0);
  bytes.writeUInt16BE(type, 6);
  bytes.writeUInt32BE(cookie, 12);
  bytes.writeUInt32BE(offset, 20);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}

/** A connection by hand, served `disk`; the oldest way of the handshake. */
async function attach(served: Served, name = 'disk'): Promise<Socket> {
  const socket = connect(served.socket);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(Buffer.concat([FLAGS, exportName(name)]));
  let got = 0;
  while (got < 28) got += ((await once(socket, 'data')) as [Buffer])[0].length;
  return socket;
}

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, 'close');
}

describe('NBD server and its limits', function () {
  this.timeout(60_000);
  let device: MemoryDevice;
  let served: Served;
  /** Bytes of replies that the server has taken memory for; the process's own size says when its garbage was collected, too. */
  let taken = 0;

  function counted(disk: MemoryDevice): MemoryDevice {
    const read = disk.read.bind(disk);
    disk.read = (offset, target) => {
      taken += target.length;
      return read(offset, target);
    };
    return disk;
  }

  beforeEach(async () => {
    device = new MemoryDevice(64 * MIB, { hot: false });
    device.bytes.fill(7);
    taken = 0;
    served = await serve(device, { limits: { handshake: SILENCE, silence: SILENCE } });
  });
  afterEach(() => served.stop());

  /** What another client sees meanwhile. */
  async function othersAreServed(): Promise<void> {
    const client = await connectNbd(served.uri, { signal: never });
    const target = Buffer.alloc(2 * MIB);
    await client.read(MIB, target, never);
    expect(target.every((byte) => byte === 7)).to.equal(true);
    await client.close();
  }

  for (const [what, bytes] of [
    ['nothing', Buffer.alloc(0)],
    ['half of its flags', FLAGS.subarray(0, 2)],
    ['half of an option', Buffer.concat([FLAGS, exportName('disk').subarray(0, 14)])],
  ] as const) {
    it(`hangs up on who says ${what} and then is silent`, async () => {
      const socket = connect(served.socket);
      socket.resume();
      socket.write(bytes);
      await closed(socket);
      await othersAreServed();
    });
  }

  it('hangs up on half a request, and on a payload that stops; not on who is silent between requests', async () => {
    const half = await attach(served);
    half.write(request(0, 1, 0, 4096).subarray(0, 13));
    const payload = await attach(served);
    payload.write(Buffer.concat([request(1, 1, 0, 4096), Buffer.alloc(100, 9)]));
    const patient = await connectNbd(served.uri, { signal: never });
    half.resume();
    payload.resume();
    await Promise.all([closed(half), closed(payload)]);
    // The half that came was never written.
    expect(device.bytes[0]).to.equal(7);
    await patient.read(0, Buffer.alloc(512), never);
    await patient.close();
  });

  it('a payload that comes in drops is taken, however long it takes in all', async () => {
    const slow = await attach(served);
    const drops = 12;
    slow.write(request(1, 5, 0, drops));
    let sent = 0;
    const timer = setInterval(() => {
      if (sent++ < drops) slow.write(Buffer.from([sent]));
    }, SILENCE / 4);
    try {
      const [reply] = (await once(slow, 'data')) as [Buffer];
      expect(reply.readUInt32BE(4)).to.equal(0);
    } finally {
      clearInterval(timer);
    }
    expect([...device.bytes.subarray(0, drops)]).to.deep.equal(Array.from({ length: drops }, (_, i) => i + 1));
    slow.destroy();
  });

  it('lets go of a client that asks for much and never reads', async () => {
    served.exports.set('counted', exportOf('counted', counted(new MemoryDevice(64 * MIB, { hot: false }))));
    const greedy = await attach(served, 'counted');
    greedy.pause();
    for (let i = 0; i < 200; i++) greedy.write(request(0, i, 0, 4 * MIB));
    await othersAreServed();
    await waitFor('the server to hang up', () => served.server.connections === 0);
    expect(taken / MIB, 'MiB of 800 that were asked for').to.be.within(4, 96);
    greedy.destroy();
  });

  it('serves on a client that reads slowly', async () => {
    const slow = await attach(served);
    slow.pause();
    slow.write(request(0, 1, 0, 32 * MIB));
    let got = 0;
    const whole = 16 + 32 * MIB;
    const since = performance.now();
    // A piece each tenth of the silence; longer than it in all.
    const timer = setInterval(() => {
      const piece = slow.read(Math.min(512 * 1024, slow.readableLength)) as Buffer | null;
      got += piece?.length ?? 0;
    }, SILENCE / 10);
    try {
      await waitFor('the whole reply', () => got === whole || slow.closed, 30_000);
    } finally {
      clearInterval(timer);
    }
    expect(got).to.equal(whole);
    expect(performance.now() - since).to.be.greaterThan(2 * SILENCE);
    slow.destroy();
  });

  it('a thousand clients at once, and then one of another disk', async () => {
    served.exports.set('crowded', exportOf('crowded', counted(new MemoryDevice(64 * MIB, { hot: false }))));
    const crowd = await Promise.all(Array.from({ length: 1000 }, () => attach(served, 'crowded')));
    for (const socket of crowd) {
      socket.pause();
      socket.write(Buffer.concat([request(0, 1, 0, 32 * MIB), request(0, 2, 0, 32 * MIB)]));
    }
    await othersAreServed();
    const held = taken;
    // What those held that it has hung up on meanwhile is given to others.
    const gone = Math.max(0, 1000 - served.server.connections);
    expect(held / MIB, 'MiB for a thousand clients that ask for 64 MiB each').to.be.within(32, 96 + 64 * gone);
    // The few that were given memory are cut off, and others have it.
    await waitFor('the server to hang up on some of them', () => served.server.connections < 990, 30_000);
    for (const socket of crowd) socket.destroy();
    await waitFor('the rest to be gone', () => served.server.connections === 0, 30_000);
    await othersAreServed();
  });

  it('refuses more clients than it takes, and takes them again', async () => {
    const few = await serve(new MemoryDevice(MIB), { maxConnections: 2 });
    try {
      const first = await attach(few);
      const second = await attach(few);
      const third = connect(few.socket);
      third.resume();
      await closed(third);
      first.destroy();
      await waitFor('a place', () => few.server.connections < 2);
      const fourth = await attach(few);
      for (const socket of [second, fourth]) socket.destroy();
    } finally {
      await few.stop();
    }
  });
});
