/** One kind of fault. A new kind is a file and a line in all.ts. */
import type { Random } from '../random.ts';
import type { World } from '../stack/world.ts';

/** Drawn from the seed, before anything runs. */
export interface PlannedFault {
  number: number;
  kind: string;
  /** What it hits; no two faults hit the same at once. */
  target: string;
  /** ms since the load began. */
  at: number;
  forMs: number;
  /** What else the kind has drawn. */
  detail: Record<string, number | string>;
}

export interface FaultKind {
  readonly kind: string;
  readonly weight: number;
  readonly targets: readonly string[];
  draw(draw: Random, target: string): { forMs: number; detail?: Record<string, number | string> };
  /** False: it cannot be done on this machine. */
  begin(world: World, fault: PlannedFault): Promise<boolean>;
  /** Undoes it; may be called without `begin`, and twice. */
  end(world: World, fault: PlannedFault): Promise<void>;
}

/** Mostly short; now and then longer than a lease, or than a node counts as alive. */
export function drawLength(draw: Random): number {
  const sort = draw.next();
  if (sort < 0.8) return draw.int(300, 9_000);
  if (sort < 0.95) return draw.int(20_000, 40_000);
  return draw.int(65_000, 90_000);
}
