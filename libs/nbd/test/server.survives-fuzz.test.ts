/**
 * Frames at random, at every stage, straight into the server's machinery and over sockets, while another disk is read and checked.
 * OPENSERVICE_NBD_FUZZ_FRAMES: how many; OPENSERVICE_NBD_FUZZ_SEED: which.
 */
import { connect } from 'node:net';
import { connectNbd, MemoryDevice } from '@openservice/nbd';
import { expect } from 'chai';
import { Budget } from '../src/server/budget.ts';
import { type Agreed, Negotiation, type TlsMode, type Verdict } from '../src/server/negotiation.ts';
import { Outbox, type Sink } from '../src/server/outbox.ts';
import { Transmission } from '../src/server/transmission.ts';
import { clientFlags, option, pieces, request } from './support/frames.ts';
import { Random } from './support/random.ts';
import { ReplyReader } from './support/reply-reader.ts';
import { exportOf, type Served, serve } from './support/serve.ts';

const FRAMES = Number(process.env.OPENSERVICE_NBD_FUZZ_FRAMES ?? 1_000_000);
const SEED = Number(process.env.OPENSERVICE_NBD_FUZZ_SEED ?? 20261124);
const SOCKETS = 3000;
const MIB = 1024 * 1024;
const SIZE = 256 * 1024 + 77;
const MEMORY_LIMIT = 300 * MIB;
const never = new AbortController().signal;

/** Reads a disk over and over, and checks each read. */
class Victim {
  readonly device = new MemoryDevice(4 * MIB, { hot: true });
  reads = 0;
  #stop = false;
  #running: Promise<void> | null = null;

  constructor() {
    for (let at = 0; at < this.device.size; at++) this.device.bytes[at] = (at * 7 + (at >> 9)) & 255;
  }

  start(uri: string): void {
    const random = new Random(SEED);
    this.#running = (async () => {
      const client = await connectNbd(uri, { signal: never });
      const target = Buffer.alloc(64 * 1024);
      while (!this.#stop) {
        const offset = random.below(this.device.size - target.length);
        await client.read(offset, target, never);
        expect(target.equals(this.device.bytes.subarray(offset, offset + target.length))).to.equal(true);
        this.reads++;
      }
      await client.close();
    })();
    // Told by `end`.
    this.#running.catch(() => undefined);
  }

  async end(): Promise<void> {
    this.#stop = true;
    await this.#running;
    expect(this.reads).to.be.greaterThan(0);
  }
}

/** A client in memory that takes all at once, or nothing until it is asked to. */
class FakeSocket implements Sink {
  destroyed = false;
  writableLength = 0;
  readonly #take: (bytes: Buffer) => void;

  constructor(take: (bytes: Buffer) => void) {
    this.#take = take;
  }

  write(bytes: Buffer, done?: () => void): void {
    this.#take(bytes);
    if (done !== undefined) queueMicrotask(done);
  }

  cork(): void {}
  uncork(): void {}
}

class Fuzz {
  readonly #random: Random;
  readonly #device: MemoryDevice;
  readonly #slow: MemoryDevice;
  readonly #budget = new Budget(8 * MIB);
  frames = 0;
  served = 0;
  answers = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.#device = new MemoryDevice(SIZE);
    this.#slow = new MemoryDevice(SIZE, { hot: false });
  }

  get charged(): number {
    return this.#budget.used;
  }

  async connection(): Promise<void> {
    const random = this.#random;
    const readOnly = random.chance(10);
    const device = readOnly ? new MemoryDevice(8192, { readOnly }) : random.chance(50) ? this.#device : this.#slow;
    const fuzzed = exportOf('fuzzed', device);
    const agreed = this.#handshake(
      new Negotiation({
        exports: { find: (name) => (name === 'fuzzed' ? fuzzed : null), list: () => [fuzzed] },
        tls: random.of<TlsMode>(['off', 'off', 'off', 'optional', 'required']),
        secure: random.chance(10),
        stopping: () => false,
        send: () => undefined,
        unsent: () => 0,
      }),
    );
    if (agreed !== null) await this.#transmission(agreed);
  }

  #handshake(negotiation: Negotiation): (Verdict & { kind: 'serve' }) | null {
    const random = this.#random;
    const act = (bytes: Buffer): Verdict | null => {
      for (const piece of pieces(random, bytes)) {
        const verdict = negotiation.feed(piece);
        if (verdict.kind !== 'more') return verdict;
      }
      return null;
    };
    let verdict = act(clientFlags(random));
    for (let i = 1 + random.below(8); i > 0 && verdict === null; i--) {
      this.frames++;
      verdict = act(random.chance(97) ? option(random) : random.bytes(random.below(100)));
    }
    return verdict?.kind === 'serve' ? verdict : null;
  }

  async #transmission({ agreed, rest }: { agreed: Agreed; rest: Buffer }): Promise<void> {
    const random = this.#random;
    this.served++;
    const lengths = new Map<number, number>();
    const replies = new ReplyReader(agreed.structured, (cookie) => lengths.get(cookie) ?? 0);
    const socket = new FakeSocket((bytes) => {
      // What is said after bytes that are no frame any more is not looked at.
      if (sound) replies.take(bytes);
    });
    const idle = { resolve: (): void => undefined };
    let ready = true;
    let over = false;
    const outbox = new Outbox(socket, () => transmission.sent());
    const transmission = new Transmission(agreed, outbox, this.#budget, {
      over: () => {
        over = true;
      },
      ready: () => {
        ready = true;
        idle.resolve();
      },
      idle: () => idle.resolve(),
    });
    let sound = rest.length === 0;
    let asked = 0;
    if (rest.length > 0) ready = transmission.feed(rest);
    for (let i = 1 + random.below(20); i > 0 && !over; i--) {
      const cookie = asked + 1;
      const { frame, sound: isSound } = random.chance(98)
        ? request(random, cookie, SIZE)
        : { frame: random.bytes(1 + random.below(60)), sound: false };
      sound &&= isSound;
      if (sound) {
        asked++;
        if (frame.readUInt16BE(6) === 0) lengths.set(cookie, frame.readUInt32BE(24));
      }
      this.frames++;
      for (const piece of pieces(random, frame)) {
        while (!ready) {
          const { promise, resolve } = Promise.withResolvers<void>();
          idle.resolve = resolve;
          await promise;
        }
        ready = transmission.feed(piece);
      }
    }
    const wasSound = sound;
    while (!transmission.idle) {
      const { promise, resolve } = Promise.withResolvers<void>();
      idle.resolve = resolve;
      await promise;
    }
    outbox.flush();
    if (wasSound) {
      expect(replies.answered.size, `replies to ${asked} requests`).to.equal(asked);
      expect(replies.whole).to.equal(true);
    }
    this.answers += replies.answered.size;
    socket.destroyed = true;
    transmission.close();
  }
}

describe(`NBD server under ${FRAMES} frames at random (seed ${SEED})`, function () {
  this.timeout(60_000 + FRAMES / 5);
  let served: Served;
  let victim: Victim;
  const rejections: unknown[] = [];
  const onRejection = (reason: unknown): void => void rejections.push(reason);

  beforeEach(async () => {
    rejections.length = 0;
    process.on('unhandledRejection', onRejection);
    victim = new Victim();
    served = await serve(victim.device, { limits: { handshake: 2000, silence: 2000 } });
    served.exports.set('fuzzed', exportOf('fuzzed', new MemoryDevice(SIZE)));
    victim.start(served.uri);
  });
  afterEach(async () => {
    process.off('unhandledRejection', onRejection);
    await served.stop();
  });

  it('neither breaks, nor grows, nor touches another disk', async () => {
    const fuzz = new Fuzz(SEED);
    const before = process.memoryUsage().rss;
    let peak = before;
    for (let i = 0; fuzz.frames < FRAMES; i++) {
      await fuzz.connection();
      if (i % 200 !== 0) continue;
      peak = Math.max(peak, process.memoryUsage().rss);
      // The victim's turn.
      await new Promise(setImmediate);
    }
    await victim.end();
    expect(rejections).to.deep.equal([]);
    expect((peak - before) / MIB, 'MiB more than before').to.be.lessThan(MEMORY_LIMIT / MIB);
    expect(fuzz.charged, 'bytes that nobody holds any more').to.equal(0);
    // Most of it got past the door.
    expect(fuzz.served).to.be.greaterThan(FRAMES / 100);
    expect(fuzz.answers).to.be.greaterThan(FRAMES / 10);
  });

  it(`over ${SOCKETS} sockets too`, async () => {
    const random = new Random(SEED + 1);
    let next = 0;
    const one = (): Promise<void> =>
      new Promise((resolve) => {
        const socket = connect(served.socket, () => {
          const parts = [clientFlags(random)];
          for (let i = random.below(4); i > 0; i--) parts.push(option(random));
          for (let i = random.below(4); i > 0; i--) parts.push(request(random, i, SIZE).frame);
          if (random.chance(20)) parts.splice(0, parts.length, random.bytes(random.below(3000)));
          for (const piece of pieces(random, Buffer.concat(parts))) socket.write(piece);
          if (random.chance(30)) socket.destroySoon();
          else socket.end();
        });
        socket.resume();
        socket.on('error', () => undefined);
        socket.on('close', () => resolve());
      });
    const worker = async (): Promise<void> => {
      while (next++ < SOCKETS) await one();
    };
    await Promise.all(Array.from({ length: 32 }, worker));
    await victim.end();
    expect(rejections).to.deep.equal([]);
  });
});
