import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { RunCommand } from '@openservice/protocol';
import { expect } from 'chai';
import { Journal } from '../src/journal/journal.ts';
import { isAtRest } from '../src/journal/wishes.ts';
import { tempDir } from './support/toy.ts';

const PROGRESS = { bytes_total: 4, bytes_done: 2, bytes_sent: 2, bytes_skipped: 0, rate: 1, eta_ms: null };
/** In the order in which they came. */
const first = { seq: 0, again: false };
const key = { jobId: 'job-a', attempt: 1 };

function command(attempt = 1, priority = 5): RunCommand {
  return {
    v: 1,
    id: 'x',
    type: 'run',
    job_id: 'job-a',
    attempt,
    seq: 0,
    node: 'n',
    node_epoch: 0,
    sent_at: '',
    traceparent: '',
    payload: { kind: 'verify', fence: attempt, params: {}, priority },
  };
}

describe('journal, what is wanted of attempts', () => {
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
  const told = () => journal.events(100).map(({ attempt, type }) => `${attempt} ${type}`);
  const reopen = () => {
    journal.close();
    journal = new Journal(dir.path);
  };

  it('keeps a pause over a restart, honours it once, with the progress of the last checkpoint', () => {
    journal.accept(command(), 1);
    journal.advance(key, 'running', null, 2);
    journal.checkpoint(key, { at: 1 }, { type: 'checkpoint', payload: PROGRESS }, () => true, 3);
    expect(journal.wishes.want(key, 'pause', first, 4)).to.equal('marked');
    reopen();
    expect(journal.get(key)?.wish).to.equal('pause');
    expect(journal.wishes.honour(key, null, 5)).to.equal('paused');
    expect(journal.wishes.honour(key, null, 6)).to.equal(null);
    reopen();
    expect(isAtRest(journal.get(key)!)).to.equal(true);
    expect(journal.held(10)).to.deep.equal([{ job_id: 'job-a', attempt: 1, state: 'paused' }]);
    expect(told()).to.deep.equal(['1 accepted', '1 checkpoint', '1 paused']);
    expect(journal.events(10).at(-1)?.payload).to.deep.equal({ progress: PROGRESS });
  });

  it('resumes once, and takes back a pause that was not honoured', () => {
    journal.accept(command(), 1);
    journal.wishes.want(key, 'pause', first, 2);
    expect(journal.wishes.resume(key, first)).to.equal('taken_back');
    expect(journal.wishes.honour(key, null, 3)).to.equal(null);
    journal.wishes.want(key, 'pause', first, 4);
    journal.wishes.honour(key, null, 5);
    expect(journal.wishes.want(key, 'pause', first, 6)).to.equal('ignored');
    expect(journal.wishes.resume(key, first)).to.equal('resumed');
    expect(journal.wishes.resume(key, first)).to.equal('ignored');
    expect(journal.get(key)).to.include({ state: 'running', wish: null });
  });

  it('ends an attempt that yields and passes its checkpoint on to the next', () => {
    journal.accept(command(), 1);
    journal.checkpoint(key, { at: 7 }, null, () => true, 2);
    journal.wishes.want(key, 'yield', first, 3);
    expect(journal.wishes.want(key, 'pause', first, 3)).to.equal('marked');
    expect(journal.wishes.resume(key, first)).to.equal('ignored');
    expect(journal.wishes.honour(key, PROGRESS, 4)).to.equal('yielded');
    expect(journal.get(key)).to.include({ state: 'finished', outcome: 'yielded' });
    expect(journal.wishes.want(key, 'yield', first, 5)).to.equal('ignored');
    expect(journal.accept(command(), 6).verdict).to.equal('known');
    expect(told()).to.deep.equal(['1 accepted', '1 yielded']);
    journal.forget(key);
    expect(journal.accept(command(2), 7)).to.deep.equal({ verdict: 'accepted', voided: [] });
    expect(journal.get({ jobId: 'job-a', attempt: 2 })?.checkpoint).to.deep.equal({ at: 7 });
  });

  it('gives a paused attempt back when the node drains', () => {
    journal.accept(command(), 1);
    journal.wishes.want(key, 'pause', first, 2);
    journal.wishes.honour(key, null, 3);
    expect(journal.wishes.want(key, 'yield', first, 4)).to.equal('marked');
    expect(journal.wishes.honour(key, null, 5)).to.equal('yielded');
    expect(told()).to.deep.equal(['1 accepted', '1 paused', '1 yielded']);
  });

  it('stops nothing that prepares, commits, is to be cancelled, or has ended', () => {
    journal.accept(command(), 1);
    for (const state of ['preparing', 'committing'] as const) {
      journal.advance(key, state, null, 2);
      expect(journal.wishes.want(key, 'pause', first, 3)).to.equal('ignored');
      expect(journal.wishes.want(key, 'yield', first, 3)).to.equal('ignored');
    }
    journal.advance(key, 'running', null, 4);
    journal.wishes.want(key, 'pause', first, 5);
    journal.advance(key, 'preparing', null, 6);
    expect(journal.wishes.honour(key, null, 7)).to.equal(null);
    journal.advance(key, 'running', null, 8);
    journal.cancel(key, 'by hand', '', 9);
    expect(journal.wishes.honour(key, null, 10)).to.equal(null);
    expect(journal.wishes.want(key, 'yield', first, 11)).to.equal('ignored');
    journal.finish(key, 'cancelled', { type: 'cancelled', payload: {} }, 12);
    expect(journal.wishes.want(key, 'pause', first, 13)).to.equal('ignored');
    expect(journal.wishes.resume(key, first)).to.equal('ignored');
  });

  it('keeps a wish that comes before its attempt, until a resume takes it back or the attempt comes', () => {
    expect(journal.wishes.want(key, 'pause', first, 1)).to.equal('kept');
    expect(journal.wishes.resume(key, first)).to.equal('ignored');
    journal.accept(command(), 2);
    expect(journal.get(key)?.wish).to.equal(null);
    const second = { jobId: 'job-a', attempt: 2 };
    journal.wishes.want(second, 'yield', first, 3);
    journal.wishes.want(second, 'pause', first, 3);
    reopen();
    journal.accept(command(2), 4);
    expect(journal.get(second)?.wish).to.equal('yield');
    journal.wishes.honour(second, null, 5);
    expect(journal.wishes.want(key, 'pause', first, 6)).to.equal('ignored');
  });

  it('lets no command that comes again undo a later one, and takes one that only has a lower number', () => {
    journal.accept(command(), 1);
    const { wishes } = journal;
    expect(wishes.want(key, 'pause', { seq: 7, again: false }, 2)).to.equal('marked');
    expect(wishes.resume(key, { seq: 8, again: false })).to.equal('taken_back');
    expect(wishes.want(key, 'pause', { seq: 7, again: true }, 3)).to.equal('ignored');
    expect(wishes.want(key, 'pause', { seq: 9, again: true }, 4)).to.equal('marked');
    expect(wishes.resume(key, { seq: 8, again: true })).to.equal('ignored');
    // The stream was made anew.
    expect(wishes.resume(key, { seq: 1, again: false })).to.equal('taken_back');
  });

  it('forgets a wish whose attempt never came', () => {
    journal.wishes.want(key, 'pause', first, 1);
    journal.tryWrite(8 * 24 * 3600 * 1000);
    journal.accept(command(), 2);
    expect(journal.get(key)?.wish).to.equal(null);
  });

  it('tells again that an attempt is paused', () => {
    journal.accept(command(), 1);
    journal.wishes.want(key, 'pause', first, 2);
    journal.wishes.honour(key, PROGRESS, 3);
    journal.dropEvents([1, 2].map((seq) => ({ ...key, seq })));
    journal.tellAgain(key, 4);
    expect(journal.events(10)).to.have.length(1);
    expect(journal.events(10)[0]).to.deep.include({ seq: 3, type: 'paused' });
  });

  it('lets a paused attempt be forgotten, made void, and made void by a newer one', () => {
    const pause = (attempt: number) => {
      journal.accept(command(attempt), 1);
      journal.wishes.want({ jobId: 'job-a', attempt }, 'pause', first, 2);
      journal.wishes.honour({ jobId: 'job-a', attempt }, null, 3);
    };
    pause(1);
    journal.forget(key);
    pause(2);
    journal.makeVoid({ jobId: 'job-a', attempt: 2 });
    expect(journal.open()).to.deep.equal([]);
    expect(journal.events(10)).to.deep.equal([]);
    pause(3);
    expect(journal.accept(command(4), 4).voided).to.deep.equal([{ jobId: 'job-a', attempt: 3 }]);
    expect(journal.wishes.resume({ jobId: 'job-a', attempt: 3 }, first)).to.equal('ignored');
  });

  it('opens a given-back attempt again for a cancel that comes late', () => {
    journal.accept(command(), 1);
    journal.wishes.want(key, 'yield', first, 2);
    journal.wishes.honour(key, null, 3);
    expect(journal.cancel(key, 'by hand', '', 4).verdict).to.equal('marked');
    expect(journal.get(key)).to.include({ state: 'running', cancel: 'by hand', outcome: null });
  });

  it('keeps the priority, and takes a journal of before as it is', () => {
    journal.accept(command(1, 2), 1);
    expect(journal.get(key)?.priority).to.equal(2);
    journal.close();
    const old = new DatabaseSync(join(dir.path, 'journal.db'));
    old.exec('DROP TABLE wishes');
    for (const column of ['wish', 'priority', 'progress', 'told_seq']) old.exec(`ALTER TABLE attempts DROP COLUMN ${column}`);
    old.close();
    journal = new Journal(dir.path);
    expect(journal.get(key)).to.include({ state: 'accepted', wish: null, priority: 5 });
  });
});
