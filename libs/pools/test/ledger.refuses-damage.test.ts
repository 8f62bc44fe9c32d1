import { PermanentError } from '@openservice/domain';
import { expect } from 'chai';
import { Ledger } from '../src/ledger.ts';
import { createMemoryBackend } from '../src/memory/backend.ts';

const signal = new AbortController().signal;

describe('a ledger with a damaged entry', () => {
  const good = { state: 'committed', fence: 3, jobId: 'job-1', attempt: 1, detail: {} };
  const damaged = [
    '',
    'null',
    '[]',
    '{}',
    '"committed"',
    JSON.stringify({ ...good, state: 'comnitted' }),
    JSON.stringify({ ...good, fence: '3' }),
  ];

  for (const text of damaged) {
    it(`is refused and never read as "not there": ${text === '' ? 'nothing' : text}`, async () => {
      const backend = createMemoryBackend();
      await backend.put('blocks/b/ledger/00000001', Buffer.from(text), signal);
      const ledger = new Ledger(backend, 'blocks/b/ledger');
      for (const call of [ledger.head(signal), ledger.advance(9, () => null, signal)]) {
        const error = await call.then(
          () => null,
          (thrown: unknown) => thrown,
        );
        expect(error).to.be.instanceOf(PermanentError).with.property('code', 'damaged_ledger');
      }
    });
  }

  for (const state of ['open', 'committed', 'trashed', 'removed']) {
    it(`is read when it is whole: ${state}`, async () => {
      const backend = createMemoryBackend();
      await backend.put('blocks/b/ledger/00000001', Buffer.from(JSON.stringify({ ...good, state })), signal);
      expect((await new Ledger(backend, 'blocks/b/ledger').head(signal)).entry).to.deep.equal({ ...good, state });
    });
  }
});
