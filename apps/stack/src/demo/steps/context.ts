import type { Stack } from '../../supervisor/stack.ts';
import type { ApiClient } from '../api-client.ts';
import type { WireMeter } from '../wire-meter.ts';

/** What every step of the demo may use. */
export interface DemoContext {
  readonly stack: Stack;
  readonly api: ApiClient;
  readonly nodeId: string;
  /** The disk image, inside the node's import root. */
  readonly image: string;
  /** Directory of the local pool. */
  readonly poolPath: string;
  readonly meter: WireMeter | null;
  readonly signal: AbortSignal;
}

/** One row of the demo's last table. */
export interface StepRow {
  step: string;
  /** Of the disk; null where the step moves none. */
  bytes: number | null;
  seconds: number;
  note: string;
}
