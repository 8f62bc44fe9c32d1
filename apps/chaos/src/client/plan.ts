/** What each client does, step by step: drawn from the seed alone, so that a run can be had again. What a step works on is drawn too, as a place in what is there by then. */

import type { Action } from '../actions/action.ts';
import { ACTIONS } from '../actions/all.ts';
import { Random } from '../random.ts';

export interface Step {
  number: number;
  action: Action;
  /** ms of nothing before it. */
  pauseMs: number;
  /** For all that the action draws. */
  draw: Random;
}

/** Nothing is there to work on at first. */
const FIRST_STEPS = 3;

export function planned(seed: number, client: number, number: number): Step {
  const draw = new Random('step', seed, client, number);
  const pauseMs = draw.int(20, 500);
  const action = draw.weighted(number < FIRST_STEPS ? ACTIONS.filter(({ makes }) => makes === true) : ACTIONS);
  return { number, action, pauseMs, draw };
}
