import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { RunCommand } from '@openservice/protocol';
import { expect } from 'chai';
import { Journal } from '../src/journal/journal.ts';
import { tempDir } from './support/toy.ts';

function command(job: string, attempt: number): RunCommand {
  const payload = { kind: 'verify' as const, fence: attempt, params: {}, priority: 5 };
  const envelope = {
    v: 1 as const,
    id: 'x',
    job_id: job,
    attempt,
    seq: 0,
    node: 'n',
    node_epoch: 0,
    sent_at: '',
    traceparent: '',
  };
  return { ...envelope, type: 'run', payload };
}

describe('journal', () => {
  let dir: Awaited<ReturnType<typeof tempDir>>;
  let journal: Journal;
  beforeEach(async () => {
    dir = await tempDir();
    journal = new Journal(dir.path);
  });
  afterEach(async () => {
    journal.close();
    await dir.remove();
  });
  const first = { jobId: 'job-a', attempt: 1 };
  const failed = { type: 'failed', payload: {} };

  it('counts its epoch up, even when the clock goes back', () => {
    expect(journal.nextEpoch(1000)).to.equal(1000);
    expect(journal.nextEpoch(500)).to.equal(1001);
  });

  it('passes a checkpoint to the next attempt, but not past one that was cleaned up', () => {
    journal.accept(command('job-a', 1), 1);
    journal.checkpoint(first, { at: 1 }, null, () => false, 2);
    journal.finish(first, 'failed_transient', failed, 3);
    journal.accept(command('job-a', 2), 4);
    expect(journal.get({ jobId: 'job-a', attempt: 2 })?.checkpoint).to.deep.equal({ at: 1 });
    journal.finish({ jobId: 'job-a', attempt: 2 }, 'failed', failed, 5);
    journal.accept(command('job-a', 3), 6);
    expect(journal.get({ jobId: 'job-a', attempt: 3 })?.checkpoint).to.equal(null);
  });

  it('a cancel of an attempt that never came cleans up what the one before it left, and nothing after one that cleaned up', () => {
    const second = { jobId: 'job-a', attempt: 2 };
    journal.accept(command('job-a', 1), 1);
    journal.checkpoint(first, { at: 1 }, null, () => false, 2);
    journal.finish(first, 'failed_transient', failed, 3);
    journal.forget(first);
    expect(journal.cancel(second, 'by hand', '', 4).verdict).to.equal('marked');
    const row = journal.get(second);
    expect(row).to.include({ state: 'accepted', cancel: 'by hand', kind: 'verify', fence: 1, outcome: null });
    expect(row?.checkpoint).to.deep.equal({ at: 1 });
    expect(journal.accept(command('job-a', 2), 5).verdict, 'its command comes late').to.equal('known');

    journal.accept(command('job-b', 1), 1);
    journal.finish({ jobId: 'job-b', attempt: 1 }, 'failed', failed, 2);
    expect(journal.cancel({ jobId: 'job-b', attempt: 2 }, 'by hand', '', 3).verdict).to.equal('cancelled');
  });

  it('passes it on though the center has had the older one forgotten meanwhile', () => {
    journal.accept(command('job-a', 1), 0);
    journal.checkpoint(first, { at: 5 }, null, () => true, 0);
    journal.finish(first, 'failed_transient', failed, 0);
    journal.forget(first);
    journal.accept(command('job-a', 2), 0);
    expect(journal.get({ jobId: 'job-a', attempt: 2 })?.checkpoint).to.deep.equal({ at: 5 });
  });

  it('knows an attempt that ended, over a restart and until its tombstone is a week old', () => {
    journal.accept(command('job-a', 1), 1);
    journal.finish(first, 'failed', failed, 2);
    journal.dropEvents([1, 2].map((seq) => ({ ...first, seq })));
    expect(journal.held(10)).to.deep.equal([]);
    journal.close();
    journal = new Journal(dir.path);
    expect(journal.accept(command('job-a', 1), 3).verdict).to.equal('known');
    journal.tryWrite(8 * 24 * 3600 * 1000);
    expect(journal.get(first)).to.equal(null);
  });

  it('replaces the event of a checkpoint that was not sent, and adds to one that was', () => {
    journal.accept(command('job-a', 1), 1);
    const event = (n: number) => ({ type: 'checkpoint', payload: { n } });
    journal.checkpoint(first, 1, event(1), () => true, 2);
    journal.checkpoint(first, 2, event(2), () => true, 3);
    journal.checkpoint(first, 3, event(3), () => false, 4);
    const told = journal.events(10).map(({ seq, payload }) => [seq, payload]);
    expect(told).to.deep.equal([
      [1, {}],
      [2, { n: 2 }],
      [3, { n: 3 }],
    ]);
    expect(journal.get(first)?.checkpoint).to.equal(3);
  });

  it('takes all of what is done together, or nothing', () => {
    const two = () => {
      journal.accept(command('job-a', 1), 1);
      journal.cancel({ jobId: 'job-b', attempt: 1 }, 'by hand', '', 1);
    };
    const dies = () => {
      two();
      throw new Error('in the middle');
    };
    expect(() => journal.together(dies)).to.throw('in the middle');
    expect(journal.get(first)).to.equal(null);
    expect(journal.events(10)).to.deep.equal([]);
    journal.together(two);
    expect(journal.healthy).to.equal(true);
    journal.close();
    journal = new Journal(dir.path);
    expect(journal.events(10).map(({ jobId, type }) => `${jobId} ${type}`)).to.deep.equal(['job-a accepted', 'job-b cancelled']);
  });

  it('syncs once for all that was begun and ended, and not where another write has', () => {
    // A sync that has nothing to do writes nothing: that is what can be seen of it from here.
    const wrote = (work: () => void): boolean => {
      const size = () => statSync(join(dir.path, 'journal.db-wal')).size;
      const before = size();
      work();
      return size() > before;
    };
    const sync = () => wrote(() => journal.sync());
    for (const attempt of ['job-a', 'job-b', 'job-c']) journal.accept(command(attempt, 1), 1);
    expect(sync()).to.equal(false);
    for (const jobId of ['job-a', 'job-b']) {
      journal.begin({ jobId, attempt: 1 }, 'running', { type: 'running', payload: {} }, 2);
      journal.finish({ jobId, attempt: 1 }, 'succeeded', { type: 'succeeded', payload: {} }, 3);
    }
    expect([sync(), sync()]).to.deep.equal([true, false]);
    expect(wrote(() => journal.dropEvents([{ ...first, seq: 1 }]))).to.equal(true);
    expect(sync()).to.equal(false);
    journal.finish({ jobId: 'job-c', attempt: 1 }, 'failed', failed, 4);
    journal.dropEvents([{ ...first, seq: 2 }]);
    expect(sync()).to.equal(true);
    journal.accept(command('job-d', 1), 5);
    journal.begin({ jobId: 'job-d', attempt: 1 }, 'running', { type: 'running', payload: {} }, 6);
    journal.tryWrite(7);
    expect(sync()).to.equal(false);
  });

  it('lets nothing more happen to an attempt that is void', () => {
    journal.accept(command('job-a', 1), 1);
    expect(journal.accept(command('job-a', 2), 2).voided).to.deep.equal([first]);
    expect(() => journal.advance(first, 'running', null, 3)).to.throw('void');
    expect(() => journal.checkpoint(first, 1, null, () => true, 3)).to.throw('void');
    expect(journal.finish(first, 'succeeded', failed, 3)).to.equal(false);
    expect(journal.healthy).to.equal(true);
    expect(journal.events(10).map(({ attempt }) => attempt)).to.deep.equal([2]);
  });
});
