/** A client's request, and what may be wrong with it. */
import { OpenServiceError } from '@openservice/domain';
import type { BlockDevice } from '../device.ts';
import { CMD, CMD_FLAG, ERRNO, MAX_PAYLOAD } from './numbers.ts';
import type { Cookie } from './replies.ts';

export interface Request extends Cookie {
  type: number;
  flags: number;
  offset: number;
  length: number;
}

/** The request whose 28 bytes, magic included, begin at `at`. An offset past 2^53 loses its last bits: no disk is that large. */
export function decodeRequest(bytes: Buffer, at: number): Request {
  return {
    flags: bytes.readUInt16BE(at + 4),
    type: bytes.readUInt16BE(at + 6),
    high: bytes.readUInt32BE(at + 8),
    low: bytes.readUInt32BE(at + 12),
    offset: bytes.readUInt32BE(at + 16) * 0x1_0000_0000 + bytes.readUInt32BE(at + 20),
    length: bytes.readUInt32BE(at + 24),
  };
}

/** 0, or why the request cannot be: out of range, unknown, not of this device. */
export function faultOf({ type, flags, offset, length }: Request, device: BlockDevice, agreed: Extensions): number {
  const allowed = ALLOWED_FLAGS[type];
  if (allowed === undefined || (flags & ~allowed) !== 0) return ERRNO.inval;
  if ((flags & CMD_FLAG.df) !== 0 && !agreed.structured) return ERRNO.inval;
  const writes = type === CMD.write || type === CMD.trim || type === CMD.writeZeroes;
  if (writes && device.readOnly) return ERRNO.perm;
  if (type === CMD.flush) return offset === 0 && length === 0 ? 0 : ERRNO.inval;
  if (type === CMD.blockStatus && !agreed.allocation) return ERRNO.inval;
  if (length === 0) return ERRNO.inval;
  if ((type === CMD.read || type === CMD.write) && length > MAX_PAYLOAD) return ERRNO.inval;
  if (offset + length > device.size) return type === CMD.write || type === CMD.writeZeroes ? ERRNO.nospc : ERRNO.inval;
  return 0;
}

/** What a connection agreed on that requests may make use of. */
export interface Extensions {
  structured: boolean;
  allocation: boolean;
}

export function wordsOf(errno: number): string {
  return WORDS[errno] ?? 'The request is not valid.';
}

/** What the protocol calls an error of a device. */
export function errnoOf(error: unknown): number {
  if (!(error instanceof OpenServiceError)) return ERRNO.io;
  if (error.code === 'no_space') return ERRNO.nospc;
  if (error.code === 'read_only') return ERRNO.perm;
  return ERRNO.io;
}

const ALLOWED_FLAGS: Readonly<Record<number, number>> = {
  [CMD.read]: CMD_FLAG.fua | CMD_FLAG.df,
  [CMD.write]: CMD_FLAG.fua,
  [CMD.disconnect]: 0xffff,
  [CMD.flush]: CMD_FLAG.fua,
  [CMD.trim]: CMD_FLAG.fua,
  [CMD.cache]: CMD_FLAG.fua,
  [CMD.writeZeroes]: CMD_FLAG.fua | CMD_FLAG.noHole | CMD_FLAG.fastZero,
  [CMD.blockStatus]: CMD_FLAG.fua | CMD_FLAG.reqOne,
};

const WORDS: Readonly<Record<number, string>> = {
  [ERRNO.perm]: 'The disk is read-only.',
  [ERRNO.inval]: 'The request is not valid here, is too long, or goes past the end of the disk.',
  [ERRNO.nospc]: 'The request goes past the end of the disk.',
  [ERRNO.shutdown]: 'The server is going down.',
};
