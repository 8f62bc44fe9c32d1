/**
 * zstd from buffer to buffer, for the thread that calls.
 *
 * node:zlib makes a context, a stream and an output buffer for every frame. They are garbage at once, but V8 lets 64 MiB of such
 * memory pile up in each thread before it collects. Node exports the zstd that it carries; called directly, one context serves all
 * frames, the output goes where it belongs, and decoding takes half the time. Where the symbols cannot be had (a Node linked to a
 * zstd elsewhere), node:zlib does the work: the frames are as good, either reads the other's.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import koffi from 'koffi';

export interface Zstd {
  /** Writes one frame of `plain` to the start of `out` and answers its length; null when it does not fit. */
  compress(plain: Buffer, out: Buffer, level: number): number | null;
  /** Writes what `frame` holds to the start of `out` and answers its length; null for a damaged frame, or one that holds more. */
  decompress(frame: Buffer, out: Buffer): number | null;
}

/** The fastest that works here. Its contexts live as long as the process: keep one a thread. */
export function createZstd(): Zstd {
  return carriedZstd() ?? zlibZstd();
}

/** Null where Node does not export its zstd. */
export function carriedZstd(): Zstd | null {
  try {
    const node = koffi.load(null);
    const compressionContext: unknown = node.func('void *ZSTD_createCCtx()')();
    const decompressionContext: unknown = node.func('void *ZSTD_createDCtx()')();
    if (compressionContext === null || decompressionContext === null) return null;
    const compress = node.func(
      'size_t ZSTD_compressCCtx(void *context, void *out, size_t room, const void *plain, size_t length, int level)',
    );
    const decompress = node.func(
      'size_t ZSTD_decompressDCtx(void *context, void *out, size_t room, const void *frame, size_t length)',
    );
    return {
      compress: (plain, out, level) =>
        fitting(compress(compressionContext, out, out.length, plain, plain.length, level), out.length),
      decompress: (frame, out) => fitting(decompress(decompressionContext, out, out.length, frame, frame.length), out.length),
    };
  } catch {
    return null;
  }
}

export function zlibZstd(): Zstd {
  return {
    compress(plain, out, level) {
      const params = { [constants.ZSTD_c_compressionLevel]: level };
      // The sizes are known: told so, zlib makes one output buffer instead of many small ones to be joined.
      const frame = zstdCompressSync(plain, { params, pledgedSrcSize: plain.length, chunkSize: roomFor(plain.length) });
      return frame.length <= out.length ? frame.copy(out) : null;
    },
    decompress(frame, out) {
      try {
        return zstdDecompressSync(frame, { maxOutputLength: Math.max(1, out.length), chunkSize: roomFor(out.length) }).copy(out);
      } catch {
        return null;
      }
    },
  };
}

/** Errors are sizes near the top of size_t. */
function fitting(length: number | bigint, room: number): number | null {
  return length <= room ? Number(length) : null;
}

/** Incompressible bytes take a little more; and zlib asks for another buffer as soon as one is full. */
function roomFor(length: number): number {
  return length + (length >> 7) + 128;
}
