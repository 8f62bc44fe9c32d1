/**
 * Keeps the memory of a node small, whoever starts it: what command line options and environment variables could set is set here,
 * before the first thread or large buffer is made.
 */
import { setFlagsFromString } from 'node:v8';
import koffi from 'koffi';

/** glibc's malloc.h. */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;
const KIB = 1024;

/**
 * Call it first. Where the C library knows no mallopt (musl, macOS), or not these options, it is left as it is.
 *
 * A transfer turns over buffers of a few sizes, again and again. V8 would answer with a young generation of 48 MiB, and glibc with an
 * arena a thread that keeps what was freed in it.
 */
export function boundMemory(): void {
  // From 1 MiB on the semispaces would double, up to 16 MiB each.
  setFlagsFromString('--semi-space-growth-factor=1');
  if (process.platform !== 'linux') return;
  try {
    const mallopt = koffi.load(null).func('int mallopt(int option, int value)') as (option: number, value: number) => number;
    mallopt(M_ARENA_MAX, 2);
    // Set by hand they stay: else the first large buffer that is freed raises both for good.
    mallopt(M_MMAP_THRESHOLD, 1024 * KIB);
    mallopt(M_TRIM_THRESHOLD, 1024 * KIB);
  } catch {
    // No mallopt here: more memory is held, nothing else changes.
  }
}
