/** ChunkWorkers on the calling thread, without compression: for tests in which thousands of tiny chunks must cost nothing. */
import { blake3 } from '@napi-rs/blake-hash';
import { crc32c } from '@node-rs/crc32';
import type { ChunkWorkers } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';

export function inlineWorkers(): ChunkWorkers {
  const digest = (bytes: Buffer): Buffer => (bytes.every((byte) => byte === 0) ? Buffer.alloc(32) : blake3(bytes));
  return {
    digest: async (bytes) => digest(bytes),
    digestCached: async () => null,
    async encode(bytes, out, { frameSize }) {
      const [frames, crcs]: [number[], number[]] = [[], []];
      bytes.copy(out);
      for (let at = 0; at < bytes.length; at += frameSize) {
        const frame = bytes.subarray(at, at + frameSize);
        frames.push(frame.length);
        crcs.push(crc32c(frame));
      }
      return { codec: 0, frames, crcs, bytes: out.subarray(0, bytes.length) };
    },
    async decode(stored, target, { frames, crcs, rawLength }) {
      let at = 0;
      for (const [i, length] of frames.entries()) {
        if (crc32c(stored.subarray(at, at + length)) !== crcs[i])
          throw new PermanentError('damaged_chunk', 'a frame fails its CRC32C');
        at += length;
      }
      stored.copy(target, 0, 0, rawLength);
      return digest(target.subarray(0, rawLength));
    },
    close: async () => {},
  };
}
