/** What the queue's board shows of a running attempt. Nothing depends on it: its failures are the board's alone. */
export interface Board {
  /** 0 … 100. */
  percent(percent: number): void;
  line(text: string): void;
}

export const NO_BOARD: Board = { percent: () => undefined, line: () => undefined };
