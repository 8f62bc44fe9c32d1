import { CancelledError, PermanentError, TransientError } from '@openservice/domain';
import { createMemoryBackend, type FaultRule, withFaults, withRetry } from '@openservice/pools';
import { expect } from 'chai';

const RETRY = { tries: 4, baseMs: 1 };
const away = () => new TransientError('unreachable', 'The store is away.');

describe('withRetry over withFaults', () => {
  const signal = new AbortController().signal;
  const made = (rules: FaultRule[]) => withRetry(withFaults(createMemoryBackend(), rules), RETRY);

  it('gets through as many faults as it has tries for, and no more', async () => {
    const backend = made([{ call: 'put', times: 3, error: away }]);
    await backend.put('a', Buffer.from('x'), signal);
    expect((await backend.get('a', null, signal)).toString()).to.equal('x');
    const worse = made([{ call: 'put', times: 4, error: away }]);
    expect(await worse.put('a', Buffer.from('x'), signal).catch((e) => e.code)).to.equal('unreachable');
  });

  it('does not try again what cannot get better', async () => {
    const backend = made([{ call: 'get', times: 1, error: () => new PermanentError('access_denied', 'No.') }]);
    await backend.put('a', Buffer.from('x'), signal);
    expect(await backend.get('a', null, signal).catch((e) => e.code)).to.equal('access_denied');
    expect((await backend.get('a', null, signal)).toString()).to.equal('x');
  });

  it('lists each object once though the list breaks off at its end', async () => {
    const backend = made([{ call: 'list', times: 2, when: 'after', error: away }]);
    for (const key of ['a', 'b', 'c']) await backend.put(key, Buffer.from('x'), signal);
    const keys: string[] = [];
    for await (const { key } of backend.list('', signal)) keys.push(key);
    expect(keys).to.deep.equal(['a', 'b', 'c']);
  });

  it('stops waiting when the signal fires', async () => {
    const stop = new AbortController();
    const stopAndFail = () => {
      stop.abort();
      return away();
    };
    const rules: FaultRule[] = [{ call: 'put', error: stopAndFail }];
    const backend = withRetry(withFaults(createMemoryBackend(), rules), { tries: 3, baseMs: 60_000 });
    expect(await backend.put('a', Buffer.from('x'), stop.signal).catch((e) => e)).to.be.instanceOf(CancelledError);
  });
});
