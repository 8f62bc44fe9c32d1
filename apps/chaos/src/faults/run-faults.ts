/** Carries out a schedule on the running stack. What went wrong in doing so is told, and is no breach of an invariant. */
import { setTimeout as pause } from 'node:timers/promises';
import type { World } from '../stack/world.ts';
import type { PlannedFault } from './fault.ts';
import { kindOf } from './schedule.ts';

export interface FaultTimes extends PlannedFault {
  /** ms since the load began; null: could not be done. */
  began: number | null;
  ended: number | null;
}

export class FaultRun {
  readonly done: FaultTimes[] = [];
  readonly #world: World;
  readonly #since: number;
  readonly #log: (line: string) => void;
  readonly #active = new Set<FaultTimes>();

  /** `since`: when the load began, on performance.now()'s clock. */
  constructor(world: World, since: number, log: (line: string) => void) {
    this.#world = world;
    this.#since = since;
    this.#log = log;
  }

  get active(): string[] {
    return [...this.#active].map(({ kind, target }) => `${kind} ${target}`);
  }

  /** Resolves when all have ended, or were ended because `signal` fired. */
  async run(schedule: readonly PlannedFault[], signal: AbortSignal): Promise<void> {
    await Promise.all(schedule.map((fault) => this.#one(fault, signal)));
  }

  async #one(fault: PlannedFault, signal: AbortSignal): Promise<void> {
    await this.#until(fault.at, signal);
    if (signal.aborted) return;
    const times: FaultTimes = { ...fault, began: null, ended: null };
    this.done.push(times);
    const kind = kindOf(fault);
    try {
      if (!(await kind.begin(this.#world, fault))) return;
      times.began = this.#now;
      this.#active.add(times);
      await this.#until(fault.at + fault.forMs, signal);
    } catch (error) {
      this.#log(`Fault ${fault.number} (${fault.kind} ${fault.target}) did not begin: ${(error as Error).message}`);
    }
    try {
      await kind.end(this.#world, fault);
    } catch (error) {
      this.#log(`Fault ${fault.number} (${fault.kind} ${fault.target}) did not end: ${(error as Error).message}`);
    }
    this.#active.delete(times);
    times.ended = this.#now;
  }

  get #now(): number {
    return Math.round(performance.now() - this.#since);
  }

  async #until(at: number, signal: AbortSignal): Promise<void> {
    const wait = at - this.#now;
    if (wait > 0) await pause(wait, undefined, { signal }).catch(() => undefined);
  }
}
