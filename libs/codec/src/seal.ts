/** AES-256-GCM for one frame: ciphertext, then the tag. The nonce is the frame's number, so a key serves one record only. */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { ChunkSeal } from './port.ts';
import { SEAL_BYTES } from './room.ts';

const CIPHER = 'aes-256-gcm';

/** Writes the sealed `plain` to the start of `out` and answers its length; null where it does not fit. */
export function sealFrame(plain: Buffer, out: Buffer, seal: ChunkSeal, frame: number): number | null {
  if (plain.length + SEAL_BYTES > out.length) return null;
  const cipher = createCipheriv(CIPHER, seal.key, nonceOf(seal, frame));
  cipher.setAAD(seal.aad);
  let length = cipher.update(plain).copy(out);
  length += cipher.final().copy(out, length);
  return length + cipher.getAuthTag().copy(out, length);
}

/** Answers what `sealed` holds; null where key, place or bytes are not those it was sealed with. */
export function openFrame(sealed: Buffer, seal: ChunkSeal, frame: number): Buffer | null {
  if (sealed.length < SEAL_BYTES) return null;
  const end = sealed.length - SEAL_BYTES;
  const decipher = createDecipheriv(CIPHER, seal.key, nonceOf(seal, frame));
  decipher.setAAD(seal.aad);
  decipher.setAuthTag(sealed.subarray(end));
  const plain = decipher.update(sealed.subarray(0, end));
  try {
    decipher.final();
  } catch {
    return null;
  }
  return plain;
}

function nonceOf(seal: ChunkSeal, frame: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32LE((seal.firstFrame ?? 0) + frame);
  return nonce;
}
