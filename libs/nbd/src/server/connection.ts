/** One client: its socket, its phase, its limits of time. */
import type { Socket } from 'node:net';
import { type SecureContext, TLSSocket } from 'node:tls';
import type { BlockDevice } from '../device.ts';
import type { Budget } from './budget.ts';
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

/** ms that a client gets to close its side once it has been sent all. */
const LINGER = 1000;

export interface ConnectionOptions {
  exports: NbdExports;
  tls: TlsMode;
  secureContext: SecureContext | null;
  limits: ConnectionLimits;
  /** Of all connections to a disk. */
  budgetOf: (device: BlockDevice) => Budget;
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
  /** All is answered, and the last bytes are on their way. */
  #leaving = false;
  #peerEnded = false;
  #closed = false;
  /** Of the handshake; later, of the goodbye. */
  #deadline: NodeJS.Timeout;

  constructor(socket: Socket, options: ConnectionOptions) {
    this.#options = options;
    this.#socket = socket;
    this.#deadline = setTimeout(() => this.destroy(), options.limits.handshake);
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
      unsent: () => this.#socket.writableLength,
    });
  }

  #attach(socket: Socket): void {
    this.#socket = socket;
    socket.on('data', (bytes: Buffer) => this.#take(bytes));
    // A client that closed its side has nothing more to ask: what is under way is still answered.
    socket.on('end', () => {
      this.#peerEnded = true;
      this.#hangUp();
    });
    socket.on('timeout', () => this.#silent());
    socket.setTimeout(this.#options.limits.silence);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#over());
  }

  #take(bytes: Buffer): void {
    if (this.#leaving) return;
    if (this.#transmission !== null) {
      if (!this.#transmission.feed(bytes)) this.#socket.pause();
      return;
    }
    if (this.#negotiation !== null && !this.#ending) this.#act(this.#negotiation.feed(bytes));
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
    this.#outbox = new Outbox(this.#socket, () => this.#transmission?.sent());
    this.#transmission = new Transmission(agreed, this.#outbox, this.#options.budgetOf(agreed.export.device), {
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
    raw.setTimeout(0);
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
    if (this.#peerEnded) {
      this.#socket.destroySoon();
      return;
    }
    if (this.#leaving) return;
    this.#leaving = true;
    // What the client still sends is read and passed over: closing on it would reset the connection, and take from the client what it
    // has not read yet.
    this.#transmission?.close();
    this.#socket.resume();
    this.#socket.end(() => {
      clearTimeout(this.#deadline);
      if (!this.#closed) this.#deadline = setTimeout(() => this.destroy(), LINGER);
    });
  }

  /**
   * Nothing has come or gone for a while; a large reply that goes slowly counts as going. Between requests a client may be silent as long
   * as it likes; a request that was begun must go on coming, and replies must go on being taken.
   */
  #silent(): void {
    if (this.#socket.writableLength > 0 || this.#transmission?.inRequest === true || this.#leaving) {
      this.destroy();
      return;
    }
    this.#outbox?.relax();
    // It rings once a silence; a request under way can outlast it.
    this.#socket.setTimeout(this.#options.limits.silence);
  }

  #over(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#deadline);
    this.#transmission?.close();
    if (this.#served !== null) this.#served.counters.connections--;
    this.#socket.destroy();
    this.#options.onClosed();
  }
}
