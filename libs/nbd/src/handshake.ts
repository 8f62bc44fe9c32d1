/** Fixed newstyle: what both ends know is agreed on, and the export is chosen. */
import type { Socket } from 'node:net';
import { PermanentError, TransientError } from '@openservice/domain';
import type { ByteStream } from './byte-stream.ts';
import { protocolError } from './errors.ts';
import type { NbdDisk } from './port.ts';
import {
  ALLOCATION,
  encodeGo,
  encodeMetaContext,
  encodeOption,
  FIXED_NEWSTYLE,
  FLAG,
  HANDSHAKE_MAGIC,
  INFO,
  NO_ZEROES,
  OPTION,
  OPTION_ERROR,
  OPTION_MAGIC,
  OPTION_REPLY,
  OPTION_REPLY_MAGIC,
} from './wire.ts';

/** Answers to options are small; more is no NBD server. */
const MAX_REPLY = 64 * 1024;
/** Every server takes this much where it names no limit. */
const DEFAULT_MAX_BLOCK = 32 * 1024 * 1024;

export interface Talk {
  socket: Socket;
  stream: ByteStream;
  /** For messages. */
  server: string;
}

export interface Agreement {
  disk: NbdDisk;
  structured: boolean;
  /** Of `base:allocation`; null where the server does not tell holes. */
  allocationId: number | null;
}

interface Reply {
  type: number;
  data: Buffer;
}

/** The greeting: answers whether the server leaves out 124 zeros. PermanentError `nbd_protocol` for anything that is no fixed newstyle server. */
export async function greet({ socket, stream, server }: Talk): Promise<{ noZeroes: boolean }> {
  const head = await stream.exactly(18);
  if (head.readBigUInt64BE(0) !== HANDSHAKE_MAGIC) throw protocolError(server, 'it does not greet with NBDMAGIC');
  if (head.readBigUInt64BE(8) !== OPTION_MAGIC) throw protocolError(server, 'it speaks the old style, which names no export');
  const flags = head.readUInt16BE(16);
  if ((flags & FIXED_NEWSTYLE) === 0) throw protocolError(server, 'it knows no fixed newstyle handshake');
  const mine = Buffer.alloc(4);
  mine.writeUInt32BE(flags & (FIXED_NEWSTYLE | NO_ZEROES), 0);
  socket.write(mine);
  return { noZeroes: (flags & NO_ZEROES) !== 0 };
}

/** After it the socket belongs to TLS. */
export async function startTls(talk: Talk): Promise<void> {
  const reply = last(await ask(talk, OPTION.startTls, Buffer.alloc(0)));
  if (reply.type !== OPTION_REPLY.ack) throw refused(talk.server, reply, 'TLS');
}

/** Structured replies and holes where the server has them, then the export. */
export async function choose(talk: Talk, exportName: string, noZeroes: boolean): Promise<Agreement> {
  const structured = last(await ask(talk, OPTION.structuredReply, Buffer.alloc(0))).type === OPTION_REPLY.ack;
  const allocationId = structured ? await allocation(talk, exportName) : null;
  const replies = await ask(talk, OPTION.go, encodeGo(exportName, [INFO.export, INFO.blockSize]));
  const end = last(replies);
  if (end.type === OPTION_REPLY.ack)
    return { disk: diskOf(talk.server, replies, allocationId !== null), structured, allocationId };
  const unknown = end.type === OPTION_ERROR.unsupported || end.type === OPTION_ERROR.policy;
  if (!unknown) throw refused(talk.server, end, `export ${JSON.stringify(exportName)}`);
  return { disk: await byName(talk, exportName, noZeroes, allocationId !== null), structured, allocationId };
}

async function allocation(talk: Talk, exportName: string): Promise<number | null> {
  const replies = await ask(talk, OPTION.setMetaContext, encodeMetaContext(exportName, ALLOCATION));
  // A server that does not have it, or not for this export, says so when the export is chosen.
  const context = replies.find((reply) => reply.type === OPTION_REPLY.metaContext && reply.data.length > 4);
  return context !== undefined && context.data.toString('utf8', 4) === ALLOCATION ? context.data.readUInt32BE(0) : null;
}

/** The oldest way: a server that does not have the export hangs up. */
async function byName(
  { socket, stream, server }: Talk,
  exportName: string,
  noZeroes: boolean,
  tellsHoles: boolean,
): Promise<NbdDisk> {
  socket.write(encodeOption(OPTION.exportName, Buffer.from(exportName, 'utf8')));
  const head = await stream.exactly(noZeroes ? 10 : 134).catch((cause: unknown) => {
    throw new PermanentError(
      'nbd_export_not_found',
      `${server} hung up when it was asked for export ${JSON.stringify(exportName)}.`,
      { cause },
    );
  });
  return disk(server, head.readBigUInt64BE(0), head.readUInt16BE(8), tellsHoles, null);
}

function diskOf(server: string, replies: readonly Reply[], tellsHoles: boolean): NbdDisk {
  const infos = replies.filter((reply) => reply.type === OPTION_REPLY.info && reply.data.length >= 2);
  const info = (type: number, length: number) =>
    infos.find(({ data }) => data.readUInt16BE(0) === type && data.length >= length)?.data ?? null;
  const told = info(INFO.export, 12);
  if (told === null) throw protocolError(server, 'it chose an export without telling its size');
  return disk(server, told.readBigUInt64BE(2), told.readUInt16BE(10), tellsHoles, info(INFO.blockSize, 14));
}

function disk(server: string, size: bigint, flags: number, tellsHoles: boolean, blocks: Buffer | null): NbdDisk {
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw protocolError(server, `its export has ${size} bytes`);
  const minBlock = blocks === null ? 1 : blocks.readUInt32BE(2);
  const preferredBlock = blocks === null ? 4096 : blocks.readUInt32BE(6);
  const most = blocks === null ? DEFAULT_MAX_BLOCK : Math.min(blocks.readUInt32BE(10), DEFAULT_MAX_BLOCK);
  const maxBlock = most - (most % Math.max(1, minBlock));
  if (minBlock < 1 || minBlock > 65_536 || (minBlock & (minBlock - 1)) !== 0 || maxBlock < minBlock) {
    throw protocolError(server, `its block sizes ${minBlock} to ${most} make no sense`);
  }
  return {
    size: Number(size),
    readOnly: (flags & FLAG.readOnly) !== 0,
    canFlush: (flags & FLAG.flush) !== 0,
    canTrim: (flags & FLAG.trim) !== 0,
    canWriteZeroes: (flags & FLAG.writeZeroes) !== 0,
    tellsHoles,
    minBlock,
    preferredBlock,
    maxBlock,
  };
}

/** All replies to one option; the last one is ACK or an error. */
async function ask({ socket, stream, server }: Talk, option: number, data: Buffer): Promise<Reply[]> {
  socket.write(encodeOption(option, data));
  const replies: Reply[] = [];
  for (;;) {
    const head = await stream.exactly(20);
    const length = head.readUInt32BE(16);
    if (head.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC || head.readUInt32BE(8) !== option || length > MAX_REPLY) {
      throw protocolError(server, `its answer to option ${option} is none`);
    }
    const reply = { type: head.readUInt32BE(12), data: await stream.exactly(length) };
    replies.push(reply);
    if (reply.type === OPTION_REPLY.ack || reply.type >= OPTION_ERROR.unsupported) return replies;
    if (replies.length > 100) throw protocolError(server, `its answer to option ${option} does not end`);
  }
}

function last(replies: readonly Reply[]): Reply {
  return replies[replies.length - 1] as Reply;
}

function refused(server: string, reply: Reply, what: string): PermanentError | TransientError {
  const text = reply.data
    .toString('utf8')
    .replaceAll(/[^\x20-\x7e]/g, ' ')
    .slice(0, 200);
  const words = text === '' ? '' : ` It says: ${text}`;
  if (reply.type === OPTION_ERROR.unknown) return new PermanentError('nbd_export_not_found', `${server} has no ${what}.${words}`);
  if (reply.type === OPTION_ERROR.shutdown) return new TransientError('unreachable', `${server} is shutting down.${words}`);
  if (reply.type === OPTION_ERROR.tlsRequired) {
    return new PermanentError('nbd_refused', `${server} wants TLS: use nbds:// in the URI.${words}`);
  }
  const number = `error ${reply.type - 0x80000000}`;
  return new PermanentError('nbd_refused', `${server} refuses ${what} (${number}).${words}`);
}
