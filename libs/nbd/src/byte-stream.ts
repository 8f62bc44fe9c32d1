/** Bytes of a socket, taken in pieces of the reader's choice. The socket is paused while enough of them wait. */
import type { Socket } from 'node:net';

const ENOUGH = 1024 * 1024;

export class ByteStream {
  readonly #socket: Socket;
  readonly #onEnd: (cause?: Error) => void;
  readonly #onData: (bytes: Buffer) => void;
  readonly #onError: (cause: Error) => void;
  readonly #onClose: () => void;
  #pieces: Buffer[] = [];
  #waiting = 0;
  #received = 0;
  #wake: (() => void) | null = null;
  #end: { error: () => Error } | null = null;

  /** `ended` makes the error that reads throw once the stream is over. */
  constructor(socket: Socket, ended: (cause?: Error) => Error) {
    this.#socket = socket;
    this.#onEnd = (cause) => {
      this.#end ??= { error: () => ended(cause) };
      this.#wake?.();
    };
    this.#onData = (bytes) => {
      this.#received += bytes.length;
      this.#pieces.push(bytes);
      this.#waiting += bytes.length;
      if (this.#waiting > ENOUGH) socket.pause();
      this.#wake?.();
    };
    this.#onError = (cause) => this.#onEnd(cause);
    this.#onClose = () => this.#onEnd();
    socket.on('data', this.#onData);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
    socket.on('end', this.#onClose);
  }

  /** Bytes that have come in all. */
  get received(): number {
    return this.#received;
  }

  /** One to `most` bytes, as they come. For one caller at a time. */
  async some(most: number): Promise<Buffer> {
    for (;;) {
      const piece = this.#pieces[0];
      if (piece !== undefined) return this.#take(piece, most);
      if (this.#end !== null) throw this.#end.error();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  /** Exactly `length` bytes. */
  async exactly(length: number): Promise<Buffer> {
    if (length === 0) return Buffer.alloc(0);
    const first = await this.some(length);
    if (first.length === length) return first;
    const all = Buffer.allocUnsafe(length);
    for (let at = first.copy(all); at < length; ) at += (await this.some(length - at)).copy(all, at);
    return all;
  }

  /** Leaves the socket to another reader (TLS). False when bytes wait that were meant for this one. */
  detach(): boolean {
    this.#socket.off('data', this.#onData);
    this.#socket.off('error', this.#onError);
    this.#socket.off('close', this.#onClose);
    this.#socket.off('end', this.#onClose);
    this.#socket.pause();
    return this.#waiting === 0;
  }

  #take(piece: Buffer, most: number): Buffer {
    const taken = piece.length <= most ? piece : piece.subarray(0, most);
    if (taken.length === piece.length) this.#pieces.shift();
    else this.#pieces[0] = piece.subarray(most);
    this.#waiting -= taken.length;
    if (this.#waiting <= ENOUGH && this.#socket.isPaused()) this.#socket.resume();
    return taken;
  }
}
