import { expect } from 'chai';
import { readJournalState, sentBefore } from '../src/jobs/journal-state.ts';

describe('bytes sent before this run', () => {
  it('are those of the last checkpoint, or what the target holds beyond it', () => {
    expect(sentBefore(readJournalState(null), 1, 0)).to.equal(0);
    expect(sentBefore(readJournalState({ bytes_sent: 500, attempt: 1 }), 1, 400)).to.equal(500);
    expect(sentBefore(readJournalState({ bytes_sent: 500, attempt: 1 }), 1, 900)).to.equal(900);
  });

  it('of an earlier attempt are the center’s to add, and are not counted twice', () => {
    expect(sentBefore(readJournalState({ bytes_sent: 500, attempt: 1 }), 2, 900)).to.equal(0);
    expect(sentBefore(readJournalState({ bytes_sent: 70, attempt: 2 }), 2, 900)).to.equal(70);
  });
});
