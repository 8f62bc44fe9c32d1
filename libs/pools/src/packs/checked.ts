/** Small binary objects end with the CRC32C of all that stands before it (u32 LE). */
import { crc32c } from '@node-rs/crc32';
import { OpenServiceError, PermanentError } from '@openservice/domain';

export function withCrc(bytes: Buffer): Buffer {
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(crc32c(bytes));
  return Buffer.concat([bytes, tail]);
}

/** The bytes before the CRC. PermanentError `code` where it does not fit or `magic` does not stand first. */
export function checked(bytes: Buffer, magic: Buffer, code: string, what: string): Buffer {
  const body = bytes.subarray(0, Math.max(0, bytes.length - 4));
  if (
    body.length < magic.length ||
    !body.subarray(0, magic.length).equals(magic) ||
    crc32c(body) !== bytes.readUInt32LE(body.length)
  ) {
    throw new PermanentError(code, `The ${what} is damaged: its magic or CRC32C is wrong.`);
  }
  return body;
}

/** True for an object whose bytes are not what they were: `damaged_…`, whatever it is. */
export function isDamaged(error: unknown): boolean {
  return error instanceof OpenServiceError && error.code.startsWith('damaged_');
}
