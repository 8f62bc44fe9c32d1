/** The calls of Linux' libc that Node does not offer; null or false where there is no such libc. */
import koffi from 'koffi';

type Call = (...args: number[]) => number | bigint;

interface AsyncCall extends Call {
  /** On a thread of its own; errno is not to be had of it. */
  async(...args: [...numbers: number[], done: (error: unknown, result: number) => void]): void;
}

interface Libc {
  lseek: Call;
  fallocate: Call;
  flock: Call;
  ioctl: AsyncCall;
}

const PUNCH_HOLE_KEEP_SIZE = 3;
let loaded: Libc | null | undefined;

export function libc(): Libc | null {
  if (loaded !== undefined) return loaded;
  loaded = null;
  if (process.platform === 'linux') {
    try {
      const library = koffi.load(null);
      loaded = {
        lseek: library.func('int64_t lseek(int fd, int64_t offset, int whence)') as Call,
        fallocate: library.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)') as Call,
        flock: library.func('int flock(int fd, int operation)') as Call,
        ioctl: library.func('int ioctl(int fd, unsigned long request, int argument)') as unknown as AsyncCall,
      };
    } catch {
      // A libc that koffi cannot look into: callers do without.
    }
  }
  return loaded;
}

/** The name of the last call's errno: `EINVAL`. */
export function errnoName(): string {
  const errno = koffi.errno();
  return Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}

/** True when the range has become a hole; false when this cannot be done here. */
export function fallocateHole(fd: number, offset: number, length: number): boolean {
  return Number(libc()?.fallocate(fd, PUNCH_HOLE_KEEP_SIZE, offset, length) ?? -1) === 0;
}
