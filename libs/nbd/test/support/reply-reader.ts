/** Reads what a server sends after the handshake; throws for anything that is no reply to a request. */
const SIMPLE = 0x67446698;
const STRUCTURED = 0x668e33ef;
const ERRORS = new Set([0, 1, 5, 12, 22, 28, 75, 95, 108]);

export class ReplyReader {
  /** Final replies by cookie. */
  readonly answered = new Map<number, number>();
  readonly #structured: boolean;
  /** Bytes of data that a simple reply to this cookie brings. */
  readonly #readLength: (cookie: number) => number;
  #rest: Buffer = Buffer.alloc(0);

  constructor(structured: boolean, readLength: (cookie: number) => number) {
    this.#structured = structured;
    this.#readLength = readLength;
  }

  /** False: bytes of a reply that is not whole are left. */
  get whole(): boolean {
    return this.#rest.length === 0;
  }

  take(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    for (let taken = this.#one(); taken > 0; taken = this.#one()) this.#rest = this.#rest.subarray(taken);
  }

  /** Bytes of the reply that is whole; 0: none is. */
  #one(): number {
    const bytes = this.#rest;
    if (bytes.length < 16) return 0;
    const magic = bytes.readUInt32BE(0);
    const cookie = bytes.readUInt32BE(12);
    if (magic === SIMPLE) {
      const errno = bytes.readUInt32BE(4);
      const length = 16 + (errno === 0 ? this.#readLength(cookie) : 0);
      if (bytes.length < length) return 0;
      this.#final(cookie, errno);
      return length;
    }
    if (magic !== STRUCTURED || !this.#structured) throw new Error(`no reply: ${bytes.toString('hex', 0, 32)}`);
    if (bytes.length < 20) return 0;
    const length = 20 + bytes.readUInt32BE(16);
    if (bytes.length < length) return 0;
    const type = bytes.readUInt16BE(6);
    if (![1, 5, 0x8001].includes(type) || bytes.readUInt16BE(4) !== 1) throw new Error(`a chunk of kind ${type}`);
    this.#final(cookie, type === 0x8001 ? bytes.readUInt32BE(20) : 0);
    return length;
  }

  #final(cookie: number, errno: number): void {
    if (!ERRORS.has(errno)) throw new Error(`error ${errno} is none of the protocol's`);
    if (this.answered.has(cookie)) throw new Error(`request ${cookie} was answered twice`);
    this.answered.set(cookie, errno);
  }
}
