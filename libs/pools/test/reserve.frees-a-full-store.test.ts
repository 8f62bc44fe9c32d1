import { PermanentError } from '@openservice/domain';
import { expect } from 'chai';
import type { Backend } from '../src/backend.ts';
import { createMemoryBackend } from '../src/memory/backend.ts';
import { RESERVE_KEY, withReserve } from '../src/reserve/backend.ts';

const signal = new AbortController().signal;

/** A memory backend that takes `room` bytes in all. */
function small(room: number): Backend {
  const memory = createMemoryBackend();
  const demand = async (bytes: number): Promise<void> => {
    let used = 0;
    for await (const { size } of memory.list('', signal)) used += size;
    if (used + bytes > room) throw new PermanentError('no_space', 'The disk is full.');
  };
  const length = (parts: Uint8Array | readonly Uint8Array[]): number =>
    (parts instanceof Uint8Array ? [parts] : parts).reduce((sum, part) => sum + part.length, 0);
  return new Proxy(memory, {
    get(target, name) {
      if (name === 'put' || name === 'putIfAbsent') {
        return async (key: string, bytes: Uint8Array, given: AbortSignal) => {
          await demand(length(bytes));
          return target[name](key, bytes, given);
        };
      }
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe('the reserve of a store', () => {
  it('is given up for a small write on a full store, and comes back when there is room', async () => {
    const inner = small(1_000_000);
    const backend = withReserve(inner);
    await backend.refill(signal);
    await inner.put('data', new Uint8Array(737_800), signal);
    expect(await backend.putIfAbsent('ledger/00000001', new Uint8Array(100), signal)).to.equal(true);
    expect(await inner.head(RESERVE_KEY, signal)).to.equal(null);
    await inner.put('more', new Uint8Array(200_000), signal);
    await backend.refill(signal);
    expect(await inner.head(RESERVE_KEY, signal), 'no room, no reserve, no error').to.equal(null);
    await inner.remove('data', signal);
    await backend.refill(signal);
    expect(await inner.head(RESERVE_KEY, signal)).to.be.greaterThan(0);
  });

  it('is not given up for any other error, and a store that is full without it says so', async () => {
    const inner = small(10);
    const backend = withReserve(inner);
    await backend.refill(signal);
    const error = await backend.put('a', new Uint8Array(11), signal).catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(PermanentError).with.property('code', 'no_space');
  });
});
