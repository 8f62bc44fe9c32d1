/** A client of server-sent events, as a browser is one: what it read, in order. */
export interface SseEvent {
  id: string;
  event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into events of every shape
  data: any;
}

export class SseClient {
  readonly events: SseEvent[] = [];
  /** As a browser keeps it: also of frames without data. */
  lastEventId = '';
  comments = 0;
  readonly #abort = new AbortController();
  /** Resolves when the server has ended the stream. */
  ended: Promise<void> = Promise.resolve();

  /** Resolves once the stream is open; throws for every other answer. */
  static async open(url: string, headers: Record<string, string>): Promise<SseClient> {
    const client = new SseClient();
    const answer = await fetch(url, { headers, signal: client.#abort.signal });
    const type = answer.headers.get('Content-Type') ?? '';
    if (answer.status !== 200 || type !== 'text/event-stream') throw new Error(`${answer.status} ${type} ${await answer.text()}`);
    client.ended = client.#read(answer.body!);
    return client;
  }

  close(): void {
    this.#abort.abort();
  }

  async #read(body: ReadableStream<Uint8Array>): Promise<void> {
    let text = '';
    const decoder = new TextDecoder();
    try {
      for await (const part of body) {
        text += decoder.decode(part, { stream: true });
        const frames = text.split('\n\n');
        text = frames.pop() ?? '';
        for (const frame of frames) this.#take(frame);
      }
    } catch (error) {
      if (!this.#abort.signal.aborted) throw error;
    }
  }

  #take(frame: string): void {
    const fields = new Map<string, string>();
    for (const line of frame.split('\n')) {
      if (line.startsWith(':')) this.comments++;
      else fields.set(line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim());
    }
    this.lastEventId = fields.get('id') ?? this.lastEventId;
    const data = fields.get('data');
    if (data !== undefined) {
      this.events.push({ id: this.lastEventId, event: fields.get('event') ?? 'message', data: JSON.parse(data) });
    }
  }
}
