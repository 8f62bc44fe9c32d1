/**
 * Is this node fit to be given work? Probes what it stands on, again and again. One that fails, or hangs, twice in a row makes the node unwell;
 * it takes two good ones in a row to be well again: a hiccup changes nothing. While it is unwell no heartbeat is sent (presence.ts), so its
 * lease ends, and what it was to do goes elsewhere.
 */
import { asOpenServiceError } from '@openservice/domain';
import { type Logger, orAborted, Periodic } from '@openservice/runtime';

const IN_A_ROW = 2;

export interface Check {
  /** What is looked at, as the subject of a sentence. */
  readonly name: string;
  /** Rejects with what is wrong. Not called again while it is under way. */
  probe(): Promise<void>;
}

export interface HealthOptions {
  /** Looked at in this order; those behind one that fails are left out of the pass: they may hang on the same thing. */
  checks: readonly Check[];
  everyMs: number;
  /** Most time of a probe. */
  limitMs: number;
  log: Logger;
  /** Called when the node is well again. */
  onWell: () => void;
}

export class Health extends Periodic {
  readonly #options: HealthOptions;
  readonly #states: State[];
  #reason: string | null = null;

  constructor(options: HealthOptions) {
    super('health', options.everyMs);
    this.#options = options;
    this.#states = options.checks.map((check) => new State(check));
  }

  /** Why the node is unwell, a sentence; null: it is well. */
  get reason(): string | null {
    return this.#reason;
  }

  async pass(): Promise<void> {
    for (const state of this.#states) if (!(await state.look(this.#options.limitMs, this.stopping))) break;
    if (this.stopping.aborted) return;
    const before = this.#reason;
    this.#reason = this.#states.find(({ unwell }) => unwell !== null)?.unwell ?? null;
    const { log, onWell } = this.#options;
    if (before === null && this.#reason !== null)
      log.error({ why: this.#reason }, 'The node is unwell: it sends no heartbeat until that is mended.');
    if (before !== null && this.#reason === null) {
      log.info('The node is well again.');
      onWell();
    }
  }

  protected onError(error: unknown): void {
    this.#options.log.error({ err: error }, 'The look at the health of the node failed; it is repeated.');
  }
}

class State {
  readonly #check: Check;
  #underWay: Promise<void> | null = null;
  /** Passes in a row with the same answer: above 0 good ones, below bad ones. */
  #row = 0;
  unwell: string | null = null;

  constructor(check: Check) {
    this.#check = check;
  }

  /** True when the probe was good. */
  async look(limitMs: number, signal: AbortSignal): Promise<boolean> {
    try {
      await orAborted(this.#probe(), AbortSignal.any([signal, AbortSignal.timeout(limitMs)]));
      this.#row = Math.max(this.#row, 0) + 1;
      if (this.#row >= IN_A_ROW) this.unwell = null;
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      this.#row = Math.min(this.#row, 0) - 1;
      const late = this.#underWay !== null;
      const why = late ? `nothing came back for ${limitMs} ms` : asOpenServiceError(error).message;
      if (this.#row <= -IN_A_ROW) this.unwell = `${this.#check.name} is not usable: ${why}`;
      return false;
    }
  }

  /** One that hangs is waited for, not repeated. */
  #probe(): Promise<void> {
    this.#underWay ??= this.#check.probe().finally(() => {
      this.#underWay = null;
    });
    return this.#underWay;
  }
}
