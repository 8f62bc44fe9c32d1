import type { Child } from './child.ts';

export interface SuperviseEvents {
  /** It died by itself; it will be started again in `delayMs`. */
  died?: (child: Child, delayMs: number) => void;
  restarted?: (child: Child) => void;
}

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 10_000;
/** Having lived so long, its next death is counted as the first again. */
const CALM_MS = 30_000;

/** Starts `child` again whenever it dies without having been told to stop, later each time. Answers how to end that. */
export function supervise(child: Child, events: SuperviseEvents = {}): () => void {
  let delay = FIRST_DELAY_MS;
  let since = Date.now();
  let timer: NodeJS.Timeout | undefined;
  let ended = false;

  const again = () => {
    if (ended || !child.wanted) return;
    if (Date.now() - since > CALM_MS) delay = FIRST_DELAY_MS;
    const wait = delay;
    delay = Math.min(delay * 2, LONGEST_DELAY_MS);
    events.died?.(child, wait);
    clearTimeout(timer);
    timer = setTimeout(async () => {
      if (ended || !child.wanted) return;
      since = Date.now();
      try {
        await child.start();
        events.restarted?.(child);
      } catch {
        // Its exit was told of, so the next try is set already; what went wrong stands in its log.
      }
    }, wait);
  };
  const onExit = () => {
    if (child.wanted) again();
  };
  child.on('exit', onExit);
  return () => {
    ended = true;
    clearTimeout(timer);
    child.off('exit', onExit);
  };
}
