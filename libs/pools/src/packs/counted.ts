import type { Backend } from '../backend.ts';
import { totalBytes } from '../keys.ts';

/** `backend` for one writer: `bytesSent` counts what this writer hands over, each try of a wrapper around it anew. */
export function counted(backend: Backend): Backend {
  let sent = 0;
  return {
    name: backend.name,
    get fencing() {
      return backend.fencing;
    },
    get bytesSent() {
      return sent;
    },
    put: (key, parts, signal) => {
      sent += totalBytes(parts);
      return backend.put(key, parts, signal);
    },
    putIfAbsent: (key, bytes, signal) => {
      sent += bytes.length;
      return backend.putIfAbsent(key, bytes, signal);
    },
    get: (key, range, signal, room) => backend.get(key, range, signal, room),
    head: (key, signal) => backend.head(key, signal),
    list: (prefix, signal) => backend.list(prefix, signal),
    remove: (key, signal) => backend.remove(key, signal),
    capacity: (signal) => backend.capacity(signal),
    close: () => backend.close(),
  };
}
