/** Progress of one attempt for people: at most once a second, the newest wins, the last one always. */
import type { Progress, ProgressMessage } from '@openservice/protocol';
import type { Board } from './board.ts';
import type { AttemptKey } from './journal/journal.ts';

const EVERY_MS = 1000;

export class ProgressTeller {
  readonly #publish: (message: ProgressMessage) => void;
  readonly #nodeId: string;
  readonly #key: AttemptKey;
  readonly #board: Board;
  #last: Progress | null = null;
  #toldAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  constructor(publish: (message: ProgressMessage) => void, nodeId: string, key: AttemptKey, board: Board) {
    this.#publish = publish;
    this.#nodeId = nodeId;
    this.#key = key;
    this.#board = board;
  }

  get last(): Progress | null {
    return this.#last;
  }

  update(progress: Progress): void {
    this.#last = progress;
    if (this.#timer !== undefined) return;
    const wait = this.#toldAt + EVERY_MS - performance.now();
    if (wait <= 0) this.#tell();
    else this.#timer = setTimeout(() => this.#tell(), wait);
  }

  /** Tells the last one, where it was not told yet, and stops. */
  end(): void {
    if (this.#timer !== undefined) this.#tell();
  }

  #tell(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const progress = this.#last;
    if (progress === null) return;
    this.#toldAt = performance.now();
    const { jobId, attempt } = this.#key;
    this.#board.percent(progress.bytes_total === 0 ? 100 : Math.floor((100 * progress.bytes_done) / progress.bytes_total));
    this.#publish({ v: 1, job_id: jobId, attempt, node: this.#nodeId, ...progress });
  }
}
