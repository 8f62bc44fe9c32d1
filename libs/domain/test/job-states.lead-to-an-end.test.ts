import { expect } from 'chai';
import { isTerminal, JOB_STATE_RULES, JOB_STATES, type JobState, mayFollow, TERMINAL_JOB_STATES } from '../src/index.ts';

describe('the table of job states', () => {
  it('has an owner and a deadline for each state that is not terminal, a paused one too, which is not forgotten', () => {
    for (const state of JOB_STATES) {
      const { owner, deadlineMs } = JOB_STATE_RULES[state];
      if (isTerminal(state)) expect([owner, deadlineMs], state).to.deep.equal([null, null]);
      else expect(owner !== null && (deadlineMs ?? 0) > 0, state).to.equal(true);
    }
  });

  it('lets nothing follow a terminal state', () => {
    expect(TERMINAL_JOB_STATES).to.have.members(['succeeded', 'failed', 'cancelled']);
    for (const state of TERMINAL_JOB_STATES) expect(JOB_STATE_RULES[state].next).to.deep.equal([]);
  });

  it('leads from every state to an end, and from queued to every state', () => {
    const reach = (from: JobState): Set<JobState> => {
      const seen = new Set<JobState>([from]);
      for (const state of seen) for (const next of JOB_STATE_RULES[state].next) seen.add(next);
      return seen;
    };
    for (const state of JOB_STATES) expect([...reach(state)].some(isTerminal), state).to.equal(true);
    expect([...reach('queued')]).to.have.members([...JOB_STATES]);
  });

  it('does not let a job be cancelled once it may have committed', () => {
    expect(mayFollow('committing', 'cancelling')).to.equal(false);
    expect(mayFollow('committing', 'cancelled')).to.equal(false);
    expect(mayFollow('preparing', 'cancelling')).to.equal(true);
  });
});
