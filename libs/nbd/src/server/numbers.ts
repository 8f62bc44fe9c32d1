/** Numbers of the protocol that only a server needs (`../wire.ts` has the rest). */

export const CLIENT_FLAGS = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const OPT = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

export const REP = { ack: 1, server: 2, info: 3, metaContext: 4 } as const;
export const REP_ERR = {
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  tlsRequired: 0x80000005,
  unknown: 0x80000006,
  shutdown: 0x80000007,
  tooBig: 0x80000009,
} as const;

export const INFO_TYPE = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

export const EXPORT_FLAG = {
  hasFlags: 1,
  readOnly: 2,
  flush: 4,
  fua: 8,
  trim: 32,
  writeZeroes: 64,
  df: 128,
  multiConn: 256,
  cache: 1024,
  fastZero: 2048,
} as const;

export const CMD = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;
export const CMD_FLAG = { fua: 1, noHole: 2, df: 4, reqOne: 8, fastZero: 16 } as const;

/** Errors of requests: those of Linux that the protocol names. */
export const ERRNO = { perm: 1, io: 5, inval: 22, nospc: 28, shutdown: 108 } as const;

/** Bytes in one READ or WRITE at most: what clients may count on without asking. */
export const MAX_PAYLOAD = 32 * 1024 * 1024;
export const PREFERRED_BLOCK = 4096;
/** Bytes of an export's name at most. */
export const MAX_NAME = 4096;
/** The one metadata context, `base:allocation`. */
export const ALLOCATION_ID = 1;
