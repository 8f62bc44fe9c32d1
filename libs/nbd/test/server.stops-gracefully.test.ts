/** A server that stops, or takes one disk away: what is under way is answered, what comes then is refused, clients are let go. */
import { connectNbd, MemoryDevice, NbdServer } from '@openservice/nbd';
import { expect } from 'chai';
import { exportOf, type Served, serve } from './support/serve.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;

/** Reads and writes wait until they are let through. */
class HeldDevice extends MemoryDevice {
  waiting = 0;
  #gate = Promise.withResolvers<void>();

  constructor(size: number) {
    super(size, { hot: false });
  }

  letThrough(): void {
    this.#gate.resolve();
  }

  override async read(offset: number, target: Buffer): Promise<void> {
    await this.#held();
    await super.read(offset, target);
  }

  override async write(offset: number, bytes: Buffer): Promise<void> {
    await this.#held();
    await super.write(offset, bytes);
  }

  async #held(): Promise<void> {
    this.waiting++;
    await this.#gate.promise;
  }

  async until(count: number): Promise<void> {
    while (this.waiting < count) await new Promise(setImmediate);
  }
}

async function code(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: { code: string }) => error.code,
  );
}

describe('NBD server, when it stops', () => {
  let device: HeldDevice;
  let served: Served;

  beforeEach(async () => {
    device = new HeldDevice(4 * MIB);
    device.bytes.fill(6);
    served = await serve(device);
    served.exports.set('other', exportOf('other', new MemoryDevice(MIB)));
  });
  afterEach(() => served.stop());

  it('answers what is under way, refuses what comes, and takes nobody new', async () => {
    const client = await connectNbd(served.uri, { signal: never });
    const target = Buffer.alloc(2 * MIB);
    const reading = client.read(0, target, never);
    const writing = client.write(3 * MIB, Buffer.alloc(4096, 8), never);
    await device.until(2);
    const stopping = served.server.stop();
    // Sent after the stop began: refused or cut off, never done.
    const late = code(client.write(0, Buffer.alloc(4096, 9), never));
    expect(await code(connectNbd(served.uri, { signal: never }))).to.be.oneOf(['unreachable', 'nbd_refused']);
    device.letThrough();
    await Promise.all([reading, writing, stopping]);
    expect(target.every((byte) => byte === 6)).to.equal(true);
    expect(device.bytes[3 * MIB]).to.equal(8);
    expect(await late).not.to.equal('done');
    expect(device.bytes[0]).to.equal(6);
    expect(served.server.connections).to.equal(0);
  });

  it('takes one disk away from its clients alone', async () => {
    const otherUri = served.uri.replace('/disk?', '/other?');
    const [mine, other] = await Promise.all([connectNbd(served.uri, { signal: never }), connectNbd(otherUri, { signal: never })]);
    const reading = mine.read(0, Buffer.alloc(512), never);
    await device.until(1);
    const gone = served.exports.get('disk')!;
    served.exports.delete('disk');
    const leaving = served.server.disconnect(gone);
    device.letThrough();
    await Promise.all([reading, leaving]);
    expect(gone.counters.connections).to.equal(0);
    expect(await code(mine.read(0, Buffer.alloc(512), never))).not.to.equal('done');
    expect(await code(connectNbd(served.uri, { signal: never }))).to.equal('nbd_export_not_found');
    await other.read(0, Buffer.alloc(512), never);
    await other.close();
  });

  it('says which place is taken, and leaves nothing listening where it cannot start', async () => {
    const tcp = { host: '127.0.0.1', port: 0 };
    const exports = { find: () => null, list: () => [] };
    const first = new NbdServer({ exports, tcp });
    await first.start();
    const socket = `${served.socket}2`;
    const second = new NbdServer({ exports, socket, tcp: { host: '127.0.0.1', port: first.port! } });
    const refused = await second.start().catch((error: Error) => error);
    expect(refused).to.include({ code: 'port_in_use' }).with.property('message').that.includes(String(first.port));
    expect(await code(connectNbd(`nbd+unix:///x?socket=${socket}`, { signal: never }))).to.be.oneOf([
      'unreachable',
      'nbd_refused',
    ]);
    await first.stop();
    await second.start();
    await second.stop();
  });
});
