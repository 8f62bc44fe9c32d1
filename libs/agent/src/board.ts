/** What the queue's board shows of a running attempt. Nothing depends on it: its failures are the board's alone. */
export interface Board {
  /** 0 … 100. */
  percent(percent: number): void;
  line(text: string): void;
}

export const NO_BOARD: Board = { percent: () => undefined, line: () => undefined };

/** What of BullMQ's Job the board writes to. */
interface BoardJob {
  updateProgress(percent: number): Promise<void>;
  log(text: string): Promise<unknown>;
}

/** Lines that may wait for Redis; more are left out. */
const MOST_LINES = 100;

/** While Redis is away its client keeps every call in memory: so one percentage waits at most, the newest of those to come. */
export function boardOf(job: BoardJob): Board {
  const ignore = (): void => undefined;
  let lines = 0;
  let writing = false;
  let next: number | null = null;
  const write = (percent: number): void => {
    writing = true;
    next = null;
    void job
      .updateProgress(percent)
      .catch(ignore)
      .then(() => {
        writing = false;
        if (next !== null) write(next);
      });
  };
  return {
    percent: (percent) => {
      if (writing) next = percent;
      else write(percent);
    },
    line: (text) => {
      if (lines >= MOST_LINES) return;
      lines++;
      void job
        .log(text)
        .catch(ignore)
        .then(() => {
          lines--;
        });
    },
  };
}
