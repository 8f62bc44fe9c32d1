/** Numbers and messages of the protocol; all integers are big-endian. */

export const HANDSHAKE_MAGIC = 0x4e42444d41474943n;
export const OPTION_MAGIC = 0x49484156454f5054n;
export const OPTION_REPLY_MAGIC = 0x3e889045565a9n;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

/** Handshake flags, the same bits both ways. */
export const FIXED_NEWSTYLE = 1;
export const NO_ZEROES = 2;

export const OPTION = { exportName: 1, abort: 2, startTls: 5, go: 7, structuredReply: 8, setMetaContext: 10 } as const;
export const OPTION_REPLY = { ack: 1, info: 3, metaContext: 4 } as const;
export const OPTION_ERROR = {
  unsupported: 0x80000001,
  policy: 0x80000002,
  tlsRequired: 0x80000005,
  unknown: 0x80000006,
  shutdown: 0x80000007,
  blockSizeRequired: 0x80000008,
} as const;
export const INFO = { export: 0, blockSize: 3 } as const;

/** Transmission flags. */
export const FLAG = { readOnly: 2, flush: 4, trim: 32, writeZeroes: 64 } as const;

export const COMMAND = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6, blockStatus: 7 } as const;
export type Command = (typeof COMMAND)[keyof typeof COMMAND];

export const REPLY_DONE = 1;
export const REPLY = { none: 0, data: 1, hole: 2, blockStatus: 5, error: 0x8001 } as const;
export const isErrorReply = (type: number): boolean => (type & 0x8000) !== 0;

/** A range with this flag reads as zeros. A hole without it has no defined content, and is read like data. */
export const STATE_ZERO = 2;
export const ALLOCATION = 'base:allocation';

export const REQUEST_BYTES = 28;

export function encodeRequest(type: Command, cookie: bigint, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(REQUEST_BYTES);
  bytes.writeUInt32BE(REQUEST_MAGIC, 0);
  bytes.writeUInt16BE(type, 6);
  bytes.writeBigUInt64BE(cookie, 8);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}

export function encodeOption(option: number, data: Buffer): Buffer {
  const head = Buffer.alloc(16);
  head.writeBigUInt64BE(OPTION_MAGIC, 0);
  head.writeUInt32BE(option, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

/** The name, then the kinds of information that are asked for. */
export function encodeGo(exportName: string, infos: readonly number[]): Buffer {
  const tail = Buffer.alloc(2 + infos.length * 2);
  tail.writeUInt16BE(infos.length, 0);
  for (const [i, info] of infos.entries()) tail.writeUInt16BE(info, 2 + i * 2);
  return Buffer.concat([sized(exportName), tail]);
}

export function encodeMetaContext(exportName: string, query: string): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(1, 0);
  return Buffer.concat([sized(exportName), count, sized(query)]);
}

function sized(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length, 0);
  return Buffer.concat([length, bytes]);
}
