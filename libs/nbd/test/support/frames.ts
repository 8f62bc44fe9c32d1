/** Frames of clients that mean no good: valid ones, valid ones with bytes changed, and bytes at random. */
import type { Random } from './random.ts';

const OPTION_MAGIC = Buffer.from('49484156454f5054', 'hex');
const REQUEST_MAGIC = 0x25609513;
const EDGES = [0, 1, 2, 511, 4095, 4096, 65_535, 65_536, 1_048_577, 33_554_432, 33_554_433, 0x7fffffff, 0xfffffffe, 0xffffffff];

export function clientFlags(random: Random): Buffer {
  return uint32(random.chance(95) ? random.of([1, 3]) : random.below(2 ** 32));
}

export function option(random: Random): Buffer {
  const kind = random.chance(90) ? random.of([2, 3, 5, 6, 7, 7, 7, 8, 8, 9, 10, 10, 1]) : random.below(2 ** 32);
  const data = optionData(random, kind);
  const length = random.chance(96) ? data.length : random.chance(50) ? random.of(EDGES) : data.length + random.below(9) - 4;
  const frame = Buffer.concat([OPTION_MAGIC, uint32(kind), uint32(Math.max(0, length)), data]);
  return random.chance(90) ? frame : mutated(random, frame);
}

export interface SentRequest {
  frame: Buffer;
  /** Its cookie is `cookie`, and it is answered; false: who knows what the server makes of it. */
  sound: boolean;
}

export function request(random: Random, cookie: number, size: number): SentRequest {
  const type = random.chance(93) ? random.of([0, 0, 0, 1, 1, 3, 4, 5, 6, 7]) : random.below(65_536);
  const flags = random.chance(80) ? 0 : random.chance(80) ? 1 << random.below(5) : random.below(65_536);
  const length = random.chance(80) ? 1 + random.below(9000) : random.of(EDGES);
  const head = Buffer.alloc(28);
  head.writeUInt32BE(REQUEST_MAGIC, 0);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(type, 6);
  head.writeUInt32BE(0xc00c1e, 8);
  head.writeUInt32BE(cookie, 12);
  if (random.chance(90)) head.writeUInt32BE(random.below(size), 20);
  else random.bytes(8).copy(head, 16);
  head.writeUInt32BE(length, 24);
  if (random.chance(3)) return { frame: mutated(random, head), sound: false };
  if (type === 2) return { frame: head, sound: false };
  if (type !== 1) return { frame: head, sound: true };
  // A payload that is cut, or longer than told, makes what follows something else.
  const told = Math.min(length, 20_000);
  const payload = Buffer.alloc(random.chance(98) ? told : random.below(told + 9), 0x5a);
  return { frame: Buffer.concat([head, payload]), sound: payload.length === length };
}

/** The bytes in pieces, as a network might cut them. */
export function* pieces(random: Random, bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; ) {
    const count = random.chance(70) ? bytes.length - at : 1 + random.below(Math.min(64, bytes.length - at));
    yield bytes.subarray(at, at + count);
    at += count;
  }
}

function optionData(random: Random, kind: number): Buffer {
  if (random.chance(5)) return random.bytes(random.below(200));
  if (random.chance(1)) return Buffer.alloc(random.of([65_536, 65_537, 70_000]), 1);
  const name = Buffer.from(random.of(['fuzzed', 'fuzzed', 'fuzzed', 'none', '', 'x'.repeat(5000)]));
  if (kind === 1) return name;
  const sized = Buffer.concat([uint32(random.chance(97) ? name.length : random.of(EDGES)), name]);
  if (kind === 6 || kind === 7) {
    const count = random.below(6);
    const told = random.chance(97) ? count : random.below(65_536);
    return Buffer.concat([sized, uint16(told), ...Array.from({ length: count }, () => uint16(random.below(6)))]);
  }
  if (kind === 9 || kind === 10) {
    const queries = Array.from({ length: random.below(4) }, () => random.of(['base:allocation', 'base:', '', 'qemu:x']));
    const told = random.chance(97) ? queries.length : random.of(EDGES);
    return Buffer.concat([
      sized,
      uint32(told),
      ...queries.map((query) => Buffer.concat([uint32(query.length), Buffer.from(query)])),
    ]);
  }
  return Buffer.alloc(0);
}

function mutated(random: Random, frame: Buffer): Buffer {
  const copy = Buffer.from(frame);
  for (let i = 1 + random.below(4); i > 0; i--) copy[random.below(Math.min(copy.length, 64))] = random.below(256);
  return random.chance(80) ? copy : copy.subarray(0, random.below(copy.length));
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value & 0xffff);
  return bytes;
}
