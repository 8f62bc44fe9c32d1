/**
 * The one table of a job's states. docs/ARCHITECTURE.md draws it; everything that moves a job asks here.
 *
 * Each state that is not terminal names its owner: who must act when its deadline passes.
 */
export const JOB_STATES = [
  'queued',
  'dispatched',
  'accepted',
  'running',
  'paused',
  'preparing',
  'committing',
  'cancelling',
  'succeeded',
  'failed',
  'cancelled',
] as const;
export type JobState = (typeof JOB_STATES)[number];

interface StateRule {
  /** States that may follow. */
  readonly next: readonly JobState[];
  /** Who must act next; nobody once the state is terminal. */
  readonly owner: 'relay' | 'node' | 'center' | null;
  /** How long the owner may be silent, in ms, before reconcile acts in its place. */
  readonly deadlineMs: number | null;
}

const SECOND = 1000;
const DAY = 86_400 * SECOND;
const ENDS = ['failed', 'cancelled'] as const;

export const JOB_STATE_RULES: Readonly<Record<JobState, StateRule>> = {
  queued: {
    next: ['dispatched', 'accepted', 'running', 'paused', 'cancelling', ...ENDS],
    owner: 'relay',
    deadlineMs: 30 * SECOND,
  },
  dispatched: {
    next: ['queued', 'accepted', 'running', 'paused', 'preparing', 'cancelling', 'succeeded', ...ENDS],
    owner: 'relay',
    deadlineMs: 30 * SECOND,
  },
  accepted: {
    next: ['queued', 'running', 'paused', 'preparing', 'cancelling', 'succeeded', ...ENDS],
    owner: 'node',
    deadlineMs: 60 * SECOND,
  },
  running: {
    next: ['queued', 'paused', 'preparing', 'committing', 'cancelling', 'succeeded', ...ENDS],
    owner: 'node',
    deadlineMs: 60 * SECOND,
  },
  // A person resumes it; one that is forgotten is resumed by the center, so that what it holds is not held for ever.
  paused: { next: ['queued', 'accepted', 'running', 'cancelling', ...ENDS], owner: 'center', deadlineMs: 7 * DAY },
  preparing: {
    next: ['queued', 'running', 'committing', 'cancelling', 'succeeded', ...ENDS],
    owner: 'node',
    deadlineMs: 60 * SECOND,
  },
  committing: { next: ['queued', 'succeeded', 'failed'], owner: 'node', deadlineMs: 60 * SECOND },
  cancelling: { next: ['cancelled', 'failed', 'succeeded'], owner: 'node', deadlineMs: 60 * SECOND },
  succeeded: { next: [], owner: null, deadlineMs: null },
  failed: { next: [], owner: null, deadlineMs: null },
  cancelled: { next: [], owner: null, deadlineMs: null },
};

export const TERMINAL_JOB_STATES: readonly JobState[] = JOB_STATES.filter((s) => JOB_STATE_RULES[s].owner === null);

export function isTerminal(state: JobState): boolean {
  return JOB_STATE_RULES[state].owner === null;
}

/** True when a job in `from` may go to `to`. Staying where it is counts as no transition: false. */
export function mayFollow(from: JobState, to: JobState): boolean {
  return JOB_STATE_RULES[from].next.includes(to);
}

/** A job that is past this point cannot be cancelled: its data may already be committed. */
export function isCancellable(state: JobState): boolean {
  return mayFollow(state, 'cancelling');
}

/** True when a job may be told to stop at its next checkpoint and stay there. */
export function isPausable(state: JobState): boolean {
  return state === 'queued' || state === 'dispatched' || state === 'accepted' || state === 'running';
}
