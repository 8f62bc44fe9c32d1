/**
 * Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) for one client, made as it reads: what it does not take
 * is not read from the stream either, so a slow client costs one batch. One that takes nothing for `stallMs` is dropped; it may come back
 * with its Last-Event-ID.
 */
import { isDatabaseAway } from '@openservice/store';
import type { EventFilter } from './filter.ts';
import { eventView, type StoredEvent } from './stored-event.ts';
import type { EventTail } from './tail.ts';

export interface StreamOptions {
  tail: Pick<EventTail, 'read' | 'state' | 'changed' | 'stopped'>;
  /** The last position that the client has. */
  after: number;
  filter: EventFilter;
  /** Cuts the client's connection. */
  drop: () => void;
  /** Called once, when the stream is over in whatever way; with the error that nobody expected, if it was that. */
  onEnd: (error?: unknown) => void;
  heartbeatMs?: number;
  stallMs?: number;
}

/** Proxies cut what is silent for a minute. */
const HEARTBEAT_MS = 15_000;
const STALL_MS = 60_000;
/** How long a client waits before it comes back, ms. */
const RETRY_MS = 2_000;

const encoder = new TextEncoder();

export function frameOf(event: StoredEvent): string {
  return `id: ${event.position}\nevent: ${event.type}\ndata: ${JSON.stringify(eventView(event))}\n\n`;
}

/** What the client has missed for good. */
function gapFrame(after: number, until: number, reason: 'retention' | 'reset'): string {
  const message =
    reason === 'retention'
      ? 'Events in between are not kept any more: read anew what you follow, then go on.'
      : 'The stream has gone back (its database was restored): read anew what you follow, then go on.';
  return `id: ${until}\nevent: gap\ndata: ${JSON.stringify({ type: 'gap', after, until, reason, message })}\n\n`;
}

export function serverSentEvents(options: StreamOptions): ReadableStream<Uint8Array> {
  const { tail, filter, drop, onEnd, heartbeatMs = HEARTBEAT_MS, stallMs = STALL_MS } = options;
  let after = options.after;
  let stall: NodeJS.Timeout | undefined;
  let over = false;
  const end = (error?: unknown): void => {
    clearTimeout(stall);
    if (over) return;
    over = true;
    onEnd(error);
  };

  /** Frames to send now; '' for none. */
  const next = async (): Promise<string> => {
    const { last, floor } = await tail.state();
    if (after > last) {
      const text = gapFrame(after, last, 'reset');
      after = last;
      return text;
    }
    if (after < floor) return gone(floor);
    const { events, upTo, goneUpTo } = await tail.read(after, filter);
    if (goneUpTo !== undefined) return gone(goneUpTo);
    after = upTo;
    return events.map(frameOf).join('');
  };
  const gone = (floor: number): string => {
    const text = gapFrame(after, floor, 'retention');
    after = floor;
    return text;
  };

  const nextOrHeartbeat = async (): Promise<string | null> => {
    const silentUntil = performance.now() + heartbeatMs;
    while (!tail.stopped.aborted && !over) {
      const before = after;
      const text = await next();
      if (text !== '') return text;
      const left = silentUntil - performance.now();
      // The id lets a client whose filter passes over much come back to where it is, not to its last event.
      if (left <= 0) return `: still here\nid: ${after}\n\n`;
      if (after === before) await tail.changed(after, left);
    }
    return null;
  };

  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        controller.enqueue(encoder.encode(`retry: ${RETRY_MS}\n\n`));
      },
      async pull(controller) {
        clearTimeout(stall);
        let text: string | null;
        try {
          text = await nextOrHeartbeat();
        } catch (error) {
          if (!isDatabaseAway(error)) {
            end(error);
            throw error;
          }
          text = null;
        }
        if (over) return;
        if (text === null) {
          // The client comes back by itself, here or to another center.
          controller.enqueue(encoder.encode(': bye\n\n'));
          controller.close();
          end();
          return;
        }
        controller.enqueue(encoder.encode(text));
        stall = setTimeout(() => {
          end();
          drop();
        }, stallMs);
      },
      cancel: () => end(),
    },
    { highWaterMark: 0 },
  );
}
