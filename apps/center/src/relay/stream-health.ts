/**
 * Streams that answer and yet carry nothing. Where a stream's files vanish under the server (a wiped disk; NATS 2.9 also when a stream is
 * made again while its deletion is still removing the directory), JetStream goes on counting messages that it can neither store nor
 * read, for ever. So each center looks: a message is stored in each stream and taken out again, and the oldest one is read. A stream that
 * fails twice in a row is deleted and made anew: commands stand in the outbox, events in the nodes' journals, so nothing is lost.
 */
import { CMD_STREAM, EVT_STREAM, probeSubject } from '@openservice/protocol';
import { Periodic, sleep } from '@openservice/runtime';
import { ErrorCode, type JetStreamManager, NatsError } from 'nats';
import type { Plane } from '../plane.ts';
import { ensureAll } from './streams.ts';

const LOOK_MS = 5_000;
const CALL_MS = 3_000;
/** The server removes the files of a deleted stream after it has answered. */
const REMOVAL_MS = 2_000;
const STRIKES = 2;
const STREAMS = [CMD_STREAM, EVT_STREAM] as const;
type Stream = (typeof STREAMS)[number];

export class StreamHealth extends Periodic {
  readonly #plane: Plane;
  /** Told after a stream was made anew: what was in it must go again. */
  readonly #onRebuilt: () => void;
  readonly #strikes = new Map<Stream, number>();

  constructor(plane: Plane, onRebuilt: () => void) {
    super('stream-health', LOOK_MS);
    this.#plane = plane;
    this.#onRebuilt = onRebuilt;
  }

  protected onError(error: unknown): void {
    this.#plane.log.debug({ why: String(error) }, 'The streams cannot be looked at just now.');
  }

  /** One look at each stream. Rejects while NATS is away. */
  async pass(): Promise<void> {
    const jsm = await this.#plane.nc.jetstreamManager({ checkAPI: false, timeout: CALL_MS });
    for (const stream of STREAMS) {
      const fault = await this.#faultOf(jsm, stream);
      const strikes = fault === null ? 0 : (this.#strikes.get(stream) ?? 0) + 1;
      this.#strikes.set(stream, strikes);
      if (strikes < STRIKES) continue;
      this.#strikes.delete(stream);
      this.#plane.log.error({ stream, fault }, 'The stream has lost its files; it is made anew, and what was in it goes again.');
      await jsm.streams.delete(stream).catch((error: unknown) => {
        this.#plane.log.warn({ stream, why: String(error) }, 'The broken stream could not be deleted.');
      });
      await sleep(REMOVAL_MS, this.stopping).catch(() => undefined);
      await ensureAll(this.#plane.nc, this.#plane.database);
      this.#onRebuilt();
    }
  }

  /** What is wrong with the stream, or null. A stream that is not there is somebody else's to make. */
  async #faultOf(jsm: JetStreamManager, stream: Stream): Promise<string | null> {
    try {
      const { seq } = await this.#plane.nc.jetstream({ timeout: CALL_MS }).publish(probeSubject(stream));
      // Whoever pulls it meanwhile drops it.
      await jsm.streams.deleteMessage(stream, seq, false).catch(ignoreMissing);
      return await this.#unreadable(jsm, stream);
    } catch (error) {
      if (!(error instanceof NatsError)) throw error;
      // A store that failed and a subject that no stream takes are both "503": what tells them apart is whether the stream is there.
      if (error.code !== ErrorCode.NoResponders && !error.isJetStreamError()) throw error;
      return (await isThere(jsm, stream)) ? String(error) : null;
    }
  }

  async #unreadable(jsm: JetStreamManager, stream: Stream): Promise<string | null> {
    const { state: before } = await jsm.streams.info(stream);
    if (before.messages === 0) return null;
    try {
      await jsm.streams.getMessage(stream, { seq: before.first_seq });
      return null;
    } catch (error) {
      if (!(error instanceof NatsError)) throw error;
      // Acknowledged between the two calls, or really not to be read? Then it is still the oldest.
      const { state } = await jsm.streams.info(stream);
      return state.messages > 0 && state.first_seq === before.first_seq ? String(error) : null;
    }
  }
}

async function isThere(jsm: JetStreamManager, stream: Stream): Promise<boolean> {
  try {
    await jsm.streams.info(stream);
    return true;
  } catch (error) {
    if (error instanceof NatsError && error.api_error?.code === 404) return false;
    throw error;
  }
}

function ignoreMissing(error: unknown): void {
  if (error instanceof NatsError && error.isJetStreamError()) return;
  throw error;
}
