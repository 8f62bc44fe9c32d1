/** A backend that fails where its rules say: tests use it to be at the worst moment. */
import type { Backend, ObjectInfo } from '../backend.ts';

export type BackendCall = 'put' | 'putIfAbsent' | 'get' | 'head' | 'list' | 'remove' | 'capacity';

export interface FaultRule {
  call: BackendCall;
  /** Which keys (or prefixes, of list). Default: all. */
  key?: RegExp;
  /** How many calls that match go through first. Default 0. */
  after?: number;
  /** How many of those that follow fail. Default: all. */
  times?: number;
  /** `before`: the store never sees the call. `after`: it is done, but the answer is lost. Default `before`. */
  when?: 'before' | 'after';
  error: () => Error;
}

/** `rules` may be added to while it runs; the first that matches and is due decides. */
export function withFaults(backend: Backend, rules: FaultRule[]): Backend {
  const counts = new Map<FaultRule, number>();
  const due = (call: BackendCall, key: string): FaultRule | null => {
    let found: FaultRule | null = null;
    for (const rule of rules) {
      if (rule.call !== call || rule.key?.test(key) === false) continue;
      const seen = counts.get(rule) ?? 0;
      counts.set(rule, seen + 1);
      const turn = seen - (rule.after ?? 0);
      if (found === null && turn >= 0 && turn < (rule.times ?? Number.POSITIVE_INFINITY)) found = rule;
    }
    return found;
  };
  const run = async <T>(call: BackendCall, key: string, step: () => Promise<T>): Promise<T> => {
    const rule = due(call, key);
    if (rule !== null && rule.when !== 'after') throw rule.error();
    const answer = await step();
    if (rule !== null) throw rule.error();
    return answer;
  };
  async function* list(prefix: string, signal: AbortSignal): AsyncIterable<ObjectInfo> {
    const rule = due('list', prefix);
    if (rule !== null && rule.when !== 'after') throw rule.error();
    yield* backend.list(prefix, signal);
    if (rule !== null) throw rule.error();
  }
  return {
    name: backend.name,
    fencing: backend.fencing,
    get bytesSent() {
      return backend.bytesSent;
    },
    put: (key, parts, signal) => run('put', key, () => backend.put(key, parts, signal)),
    putIfAbsent: (key, bytes, signal) => run('putIfAbsent', key, () => backend.putIfAbsent(key, bytes, signal)),
    get: (key, range, signal, room) => run('get', key, () => backend.get(key, range, signal, room)),
    head: (key, signal) => run('head', key, () => backend.head(key, signal)),
    list,
    remove: (key, signal) => run('remove', key, () => backend.remove(key, signal)),
    capacity: (signal) => run('capacity', '', () => backend.capacity(signal)),
    close: () => backend.close(),
  };
}
