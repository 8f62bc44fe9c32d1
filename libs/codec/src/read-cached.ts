/** preadv2 of Linux' libc, which Node does not offer. */
import koffi from 'koffi';

type Preadv2 = (
  fd: number,
  part: { base: Buffer; length: number },
  count: number,
  offset: number,
  flags: number,
) => number | bigint;

const RWF_NOWAIT = 8;
let loaded: Preadv2 | null | undefined;

/** Reads what the kernel has in memory, and never waits for a disk. True: `target` is full; false: nothing is known of what it holds. */
export function readCached(fd: number, target: Buffer, offset: number): boolean {
  if (loaded === undefined) loaded = load();
  return loaded !== null && Number(loaded(fd, { base: target, length: target.length }, 1, offset, RWF_NOWAIT)) === target.length;
}

function load(): Preadv2 | null {
  if (process.platform !== 'linux') return null;
  try {
    koffi.struct('CodecIovec', { base: 'void *', length: 'size_t' });
    const declared = 'int64_t preadv2(int fd, CodecIovec *part, int count, int64_t offset, int flags)';
    return koffi.load(null).func(declared) as Preadv2;
  } catch {
    // A libc that koffi cannot look into, or one without this call: callers do without.
    return null;
  }
}
