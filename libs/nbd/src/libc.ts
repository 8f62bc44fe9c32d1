/** Calls of Linux' libc that Node does not offer; what cannot be had answers as if it did not work, and callers do without. */
import koffi from 'koffi';

type Call = (...args: unknown[]) => number | bigint;
type AsyncCall = Call & { async: (...args: [...unknown[], (error: unknown, result: number | bigint) => void]) => void };

interface Libc {
  fallocate: AsyncCall;
  preadv2: Call;
}

const PUNCH_HOLE_KEEP_SIZE = 3;
const RWF_NOWAIT = 8;
let loaded: Libc | null | undefined;

function libc(): Libc | null {
  if (loaded !== undefined) return loaded;
  loaded = null;
  if (process.platform !== 'linux') return null;
  try {
    const library = koffi.load(null);
    koffi.struct('OverlayIovec', { base: 'void *', length: 'size_t' });
    loaded = {
      fallocate: library.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)') as unknown as AsyncCall,
      preadv2: library.func('int64_t preadv2(int fd, OverlayIovec *parts, int count, int64_t offset, int flags)') as Call,
    };
  } catch {
    // A libc that koffi cannot look into, or one without these calls.
  }
  return loaded;
}

/** True when the range has become a hole of the file, its size as before; false when this cannot be done here. */
export function punchHole(fd: number, offset: number, length: number): boolean {
  return Number(libc()?.fallocate(fd, PUNCH_HOLE_KEEP_SIZE, offset, length) ?? -1) === 0;
}

/** As `punchHole`, on another thread: a large one takes its time. */
export function punchHoleAside(fd: number, offset: number, length: number): Promise<boolean> {
  const calls = libc();
  if (calls === null) return Promise.resolve(false);
  return new Promise((resolve) => {
    calls.fallocate.async(fd, PUNCH_HOLE_KEEP_SIZE, offset, length, (error, result) => resolve(!error && Number(result) === 0));
  });
}

/** Reads what the kernel has in memory, and never waits for a disk. True: `target` is full; false: nothing is known of what it holds. */
export function readCached(fd: number, target: Buffer, offset: number): boolean {
  const got = libc()?.preadv2(fd, { base: target, length: target.length }, 1, offset, RWF_NOWAIT);
  return got !== undefined && Number(got) === target.length;
}
