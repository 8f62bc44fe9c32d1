/**
 * The handshake from the server's side: fixed newstyle (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md). Bytes go in by
 * `feed`; what becomes of the connection comes out as a verdict.
 */
import { HANDSHAKE_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC } from '../wire.ts';
import { exportFlags, exportInfo, metaContextReply, serverReply } from './answers.ts';
import type { NbdExport, NbdExports } from './exports.ts';
import { CLIENT_FLAGS, INFO_TYPE, MAX_NAME, OPT, REP, REP_ERR } from './numbers.ts';
import { readGo, readMetaContext } from './option-data.ts';

/** Bytes of an option's data that are looked at; more is passed over, up to MAX_SKIPPED, and refused. */
const MAX_DATA = 64 * 1024;
const MAX_SKIPPED = 1024 * 1024;
/** A client that asks on and on without taking its answers is no client. */
const MAX_UNSENT = 1024 * 1024;
/** Options in one handshake: nobody needs so many. */
const MAX_OPTIONS = 512;
const HEAD_BYTES = 16;

export type TlsMode = 'off' | 'optional' | 'required';

export interface Agreed {
  export: NbdExport;
  structured: boolean;
  /** `base:allocation` was chosen for this export. */
  allocation: boolean;
}

/** `more`: feed on. `tls`: the socket's next bytes are TLS. `serve`: with the bytes that came after. `close`: hang up once all is sent. */
export type Verdict = { kind: 'more' } | { kind: 'close' } | { kind: 'tls' } | { kind: 'serve'; agreed: Agreed; rest: Buffer };

const MORE: Verdict = { kind: 'more' };
const CLOSE: Verdict = { kind: 'close' };

export interface NegotiationOptions {
  exports: NbdExports;
  tls: TlsMode;
  /** This connection is under TLS already. */
  secure: boolean;
  /** The server goes down: no export is given out any more. */
  stopping: () => boolean;
  send: (bytes: Buffer) => void;
  /** Bytes of what was sent that the client has not taken. */
  unsent: () => number;
}

export class Negotiation {
  readonly #options: NegotiationOptions;
  #waiting: Buffer = Buffer.alloc(0);
  #flags: number | null = null;
  #skip = 0;
  #skipped: number | null = null;
  #count = 0;
  #structured = false;
  /** The name of the export that `base:allocation` was chosen for. */
  #allocationFor: string | null = null;

  constructor(options: NegotiationOptions) {
    this.#options = options;
    // Under TLS the talk goes on after STARTTLS: greeting and client flags were exchanged before.
    if (options.secure) this.#flags = CLIENT_FLAGS.fixedNewstyle | CLIENT_FLAGS.noZeroes;
    else this.#greet();
  }

  /** The flags that the client gave in the clear hold under TLS too. */
  get clientFlags(): number {
    return this.#flags ?? 0;
  }

  set clientFlags(flags: number) {
    this.#flags = flags;
  }

  feed(bytes: Buffer): Verdict {
    this.#waiting = this.#waiting.length === 0 ? bytes : Buffer.concat([this.#waiting, bytes]);
    for (;;) {
      const before = this.#waiting.length;
      const verdict = this.#step();
      if (verdict.kind !== 'more' || this.#waiting.length === before) return verdict;
    }
  }

  #greet(): void {
    const hello = Buffer.alloc(18);
    hello.writeBigUInt64BE(HANDSHAKE_MAGIC, 0);
    hello.writeBigUInt64BE(OPTION_MAGIC, 8);
    hello.writeUInt16BE(CLIENT_FLAGS.fixedNewstyle | CLIENT_FLAGS.noZeroes, 16);
    this.#options.send(hello);
  }

  /** Takes one thing out of what waits; nothing where it is not whole yet. */
  #step(): Verdict {
    if (this.#flags === null) return this.#readFlags();
    if (this.#skip > 0) return this.#passOver();
    if (this.#waiting.length < HEAD_BYTES) return MORE;
    if (this.#waiting.readBigUInt64BE(0) !== OPTION_MAGIC) return CLOSE;
    const option = this.#waiting.readUInt32BE(8);
    const length = this.#waiting.readUInt32BE(12);
    if (length > MAX_SKIPPED) return CLOSE;
    if (length > MAX_DATA) {
      this.#waiting = this.#waiting.subarray(HEAD_BYTES);
      this.#skip = length;
      this.#skipped = option;
      return this.#passOver();
    }
    if (this.#waiting.length < HEAD_BYTES + length) return MORE;
    const data = this.#waiting.subarray(HEAD_BYTES, HEAD_BYTES + length);
    this.#waiting = this.#waiting.subarray(HEAD_BYTES + length);
    if (++this.#count > MAX_OPTIONS || this.#options.unsent() > MAX_UNSENT) return CLOSE;
    return this.#answer(option, data);
  }

  #readFlags(): Verdict {
    if (this.#waiting.length < 4) return MORE;
    const flags = this.#waiting.readUInt32BE(0);
    this.#waiting = this.#waiting.subarray(4);
    const known = CLIENT_FLAGS.fixedNewstyle | CLIENT_FLAGS.noZeroes;
    if ((flags & ~known) !== 0 || (flags & CLIENT_FLAGS.fixedNewstyle) === 0) return CLOSE;
    this.#flags = flags;
    return MORE;
  }

  #passOver(): Verdict {
    const count = Math.min(this.#skip, this.#waiting.length);
    this.#skip -= count;
    this.#waiting = this.#waiting.subarray(count);
    if (this.#skip > 0) return MORE;
    const option = this.#skipped!;
    this.#skipped = null;
    if (option === OPT.exportName || ++this.#count > MAX_OPTIONS) return CLOSE;
    return this.#refuse(option, REP_ERR.tooBig, 'The data of this option is too long.');
  }

  #answer(option: number, data: Buffer): Verdict {
    const { tls, secure } = this.#options;
    if (option === OPT.abort) {
      this.#reply(option, REP.ack);
      return CLOSE;
    }
    if (tls === 'required' && !secure && option !== OPT.startTls) {
      if (option === OPT.exportName) return CLOSE;
      return this.#refuse(option, REP_ERR.tlsRequired, 'This server speaks TLS only; use nbds://.');
    }
    if (this.#options.stopping()) {
      if (option === OPT.exportName) return CLOSE;
      return this.#refuse(option, REP_ERR.shutdown, 'The server is going down.');
    }
    switch (option) {
      case OPT.exportName:
        return this.#exportName(data);
      case OPT.list:
        return data.length === 0 ? this.#list() : this.#refuse(option, REP_ERR.invalid, 'LIST takes no data.');
      case OPT.startTls:
        return this.#startTls(data);
      case OPT.info:
      case OPT.go:
        return this.#go(option, data);
      case OPT.structuredReply:
        return this.#structuredReply(data);
      case OPT.listMetaContext:
      case OPT.setMetaContext:
        return this.#metaContext(option, data);
      default:
        return this.#refuse(option, REP_ERR.unsupported, 'This option is not known here.');
    }
  }

  /** The oldest way has no answer for "no": the server hangs up. */
  #exportName(data: Buffer): Verdict {
    const found = data.length > MAX_NAME ? null : this.#options.exports.find(data.toString('utf8'));
    if (found === null) return CLOSE;
    const noZeroes = (this.clientFlags & CLIENT_FLAGS.noZeroes) !== 0;
    const head = Buffer.alloc(noZeroes ? 10 : 134);
    head.writeBigUInt64BE(BigInt(found.device.size), 0);
    head.writeUInt16BE(exportFlags(found.device, this.#structured), 8);
    this.#options.send(head);
    return this.#serve(found);
  }

  #serve(found: NbdExport): Verdict {
    const allocation = this.#structured && this.#allocationFor !== null && this.#isSame(this.#allocationFor, found);
    return { kind: 'serve', agreed: { export: found, structured: this.#structured, allocation }, rest: this.#waiting };
  }

  #isSame(name: string, found: NbdExport): boolean {
    return this.#options.exports.find(name) === found;
  }

  #list(): Verdict {
    for (const { name, description } of this.#options.exports.list()) {
      this.#reply(OPT.list, REP.server, serverReply(name, description));
    }
    return this.#reply(OPT.list, REP.ack);
  }

  #startTls(data: Buffer): Verdict {
    const { tls, secure } = this.#options;
    if (data.length > 0) return this.#refuse(OPT.startTls, REP_ERR.invalid, 'STARTTLS takes no data.');
    if (secure) return this.#refuse(OPT.startTls, REP_ERR.invalid, 'TLS is on already.');
    if (tls === 'off') return this.#refuse(OPT.startTls, REP_ERR.policy, 'This server has no certificate.');
    // What was sent along in the clear must not pass for what comes under TLS.
    if (this.#waiting.length > 0) return CLOSE;
    this.#reply(OPT.startTls, REP.ack);
    return { kind: 'tls' };
  }

  #go(option: number, data: Buffer): Verdict {
    const asked = readGo(data);
    if (asked === null) return this.#refuse(option, REP_ERR.invalid, 'The data of this option is not whole.');
    const found = this.#options.exports.find(asked.name);
    if (found === null) return this.#refuse(option, REP_ERR.unknown, 'There is no export of this name.');
    for (const type of new Set([INFO_TYPE.export, INFO_TYPE.blockSize, ...asked.infos])) {
      const info = exportInfo(type, found, this.#structured);
      if (info !== null) this.#reply(option, REP.info, info);
    }
    this.#reply(option, REP.ack);
    return option === OPT.go ? this.#serve(found) : MORE;
  }

  #structuredReply(data: Buffer): Verdict {
    if (data.length > 0) return this.#refuse(OPT.structuredReply, REP_ERR.invalid, 'STRUCTURED_REPLY takes no data.');
    this.#structured = true;
    return this.#reply(OPT.structuredReply, REP.ack);
  }

  #metaContext(option: number, data: Buffer): Verdict {
    const set = option === OPT.setMetaContext;
    // A SET that is refused leaves nothing chosen.
    if (set) this.#allocationFor = null;
    const asked = readMetaContext(data);
    if (asked === null || !this.#structured) {
      const why = asked === null ? 'The data of this option is not whole.' : 'Ask for structured replies first.';
      return this.#refuse(option, REP_ERR.invalid, why);
    }
    if (this.#options.exports.find(asked.name) === null)
      return this.#refuse(option, REP_ERR.unknown, 'There is no export of this name.');
    // LIST takes a namespace for all that is in it, and no query for everything; SET takes whole names alone.
    const listed = (query: string): boolean => query === 'base:allocation' || (!set && query === 'base:');
    if (asked.queries.some(listed) || (!set && asked.queries.length === 0)) {
      if (set) this.#allocationFor = asked.name;
      this.#reply(option, REP.metaContext, metaContextReply(set));
    }
    return this.#reply(option, REP.ack);
  }

  #refuse(option: number, error: number, words: string): Verdict {
    return this.#reply(option, error, Buffer.from(words));
  }

  #reply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Verdict {
    const head = Buffer.alloc(20);
    head.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0);
    head.writeUInt32BE(option, 8);
    head.writeUInt32BE(type, 12);
    head.writeUInt32BE(data.length, 16);
    this.#options.send(Buffer.concat([head, data]));
    return MORE;
  }
}
