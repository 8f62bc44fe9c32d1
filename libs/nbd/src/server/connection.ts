/** One client: its socket, its phase, its limits of time. */
import type { Socket } from 'node:net';
import { type SecureContext, TLSSocket } from 'node:tls';
import type { NbdExport, NbdExports } from './exports.ts';
import { type Agreed, Negotiation, type TlsMode, type Verdict } from './negotiation.ts';
import { Outbox } from './outbox.ts';
import { Transmission } from './transmission.ts';

export interface ConnectionLimits {
  /** ms for the whole handshake. */
  handshake: number;
  /** ms in which the rest of a request that was begun must go on coming, and replies that wait must go on being taken. */
  silence: number;
}

export interface ConnectionOptions {
  exports: NbdExports;
  tls: TlsMode;
  secureContext: SecureContext | null;
  limits: ConnectionLimits;
  /** Told once, when the connection is over. */
  onClosed: () => void;
}

export class Connection {
  readonly #options: ConnectionOptions;
  #socket: Socket;
  #negotiation: Negotiation | null;
  #transmission: Transmission | null = null;
  #outbox: Outbox | null = null;
  #served: NbdExport | null = null;
  #stopping = false;
  #ending = false;
  #closed = false;
  readonly #deadline: NodeJS.Timeout;
  readonly #watch: NodeJS.Timeout;
  /** Of the last look: bytes that came and went. */
  #moved = -1;
  #silent = 0;

  constructor(socket: Socket, options: ConnectionOptions) {
    this.#options = options;
    this.#socket = socket;
    this.#deadline = setTimeout(() => this.destroy(), options.limits.handshake);
    const every = Math.max(10, Math.min(5000, options.limits.silence / 4));
    this.#watch = setInterval(() => this.#look(every), every);
    this.#attach(socket);
    this.#negotiation = this.#negotiate(false);
  }

  /** What it serves; null during the handshake. */
  get served(): NbdExport | null {
    return this.#served;
  }

  /** Refuses what comes from now on, lets what is under way end, then hangs up. */
  stop(): void {
    this.#stopping = true;
    this.#transmission?.stop();
    this.#endWhenIdle();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #negotiate(secure: boolean): Negotiation {
    return new Negotiation({
      exports: this.#options.exports,
      tls: this.#options.tls,
      secure,
      stopping: () => this.#stopping,
      send: (bytes) => void this.#socket.write(bytes),
    });
  }

  #attach(socket: Socket): void {
    this.#socket = socket;
    socket.setNoDelay?.(true);
    socket.on('data', (bytes: Buffer) => this.#take(bytes));
    socket.on('drain', () => this.#transmission?.drained());
    // A client that only closes its side has nothing more to ask, and reads nothing: its requests under way still end.
    socket.on('end', () => this.#hangUp());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#over());
  }

  #take(bytes: Buffer): void {
    if (this.#transmission !== null) {
      if (!this.#transmission.feed(bytes)) this.#socket.pause();
      return;
    }
    if (this.#negotiation !== null) this.#act(this.#negotiation.feed(bytes));
  }

  #act(verdict: Verdict): void {
    if (verdict.kind === 'close') this.#hangUp();
    if (verdict.kind === 'tls') this.#startTls();
    if (verdict.kind === 'serve') this.#serve(verdict.agreed, verdict.rest);
  }

  #serve(agreed: Agreed, rest: Buffer): void {
    clearTimeout(this.#deadline);
    this.#negotiation = null;
    this.#served = agreed.export;
    this.#served.counters.connections++;
    this.#outbox = new Outbox(this.#socket);
    this.#transmission = new Transmission(agreed, this.#outbox, {
      over: () => this.#hangUp(),
      ready: () => this.#socket.resume(),
      idle: () => this.#endWhenIdle(),
    });
    if (this.#stopping) this.stop();
    if (rest.length > 0) this.#take(rest);
  }

  #startTls(): void {
    const { secureContext } = this.#options;
    if (secureContext === null) {
      this.#hangUp();
      return;
    }
    const raw = this.#socket;
    const flags = this.#negotiation!.clientFlags;
    raw.removeAllListeners();
    raw.on('error', () => raw.destroy());
    // A client that goes away in the middle of the TLS handshake ends the raw socket alone.
    raw.on('close', () => this.#over());
    this.#attach(new TLSSocket(raw, { isServer: true, secureContext }));
    this.#negotiation = this.#negotiate(true);
    this.#negotiation.clientFlags = flags;
  }

  /** Ends the connection once all that is under way is answered. */
  #hangUp(): void {
    this.#ending = true;
    this.#endWhenIdle();
  }

  #endWhenIdle(): void {
    if (this.#closed || !(this.#ending || this.#stopping)) return;
    if (this.#transmission !== null && !this.#transmission.idle) return;
    this.#outbox?.flush();
    // Once all is sent; a peer that keeps its side open is not waited for.
    this.#socket.destroySoon();
  }

  /** A request or reply that stands still for too long. Between requests a client may be silent as long as it likes. */
  #look(since: number): void {
    const { bytesRead, bytesWritten, writableLength } = this.#socket;
    const moved = bytesRead + bytesWritten - writableLength;
    const awaited = writableLength > 0 || this.#transmission?.inRequest === true;
    this.#silent = awaited && moved === this.#moved ? this.#silent + since : 0;
    this.#moved = moved;
    if (this.#silent >= this.#options.limits.silence) this.destroy();
  }

  #over(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#deadline);
    clearInterval(this.#watch);
    if (this.#served !== null) this.#served.counters.connections--;
    this.#socket.destroy();
    this.#options.onClosed();
  }
}
