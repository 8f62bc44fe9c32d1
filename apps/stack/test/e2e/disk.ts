/** Small disk images with holes, made from a seed: the same seed, the same bytes. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

const MIB = 1024 * 1024;

/** Bytes that zstd cannot shrink, from `seed`. */
function noise(seed: string, length: number): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i * 64 < length; i++) parts.push(createHash('sha512').update(`${seed}:${i}`).digest());
  return Buffer.concat(parts).subarray(0, length);
}

/**
 * Writes an image of `sizeMib` MiB (and `tail` bytes) with data in two of each three MiB; the rest are holes.
 * Each MiB of data begins with its own number, so no two are equal.
 */
export async function makeDisk(path: string, options: { sizeMib: number; tail?: number; seed?: string }): Promise<void> {
  const body = noise(options.seed ?? 'disk', MIB);
  const file = await open(path, 'wx');
  try {
    for (let i = 0; i < options.sizeMib; i++) {
      if (i % 3 === 2) continue;
      body.writeUInt32LE(i, 0);
      await file.write(body, 0, MIB, i * MIB);
    }
    await file.truncate(options.sizeMib * MIB + (options.tail ?? 0));
    await file.sync();
  } finally {
    await file.close();
  }
}

/** SHA-256 of a file's bytes, in hex. */
export async function fileDigest(path: string): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'r');
  try {
    for await (const part of file.createReadStream({ highWaterMark: MIB })) hash.update(part as Buffer);
  } finally {
    await file.close().catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EBADF') throw error; // the stream has closed it already
    });
  }
  return hash.digest('hex');
}
