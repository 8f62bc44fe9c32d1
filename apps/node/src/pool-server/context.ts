/** What the routes of the pool server share, and what one request is to them. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ChunkWorkers } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import type { BlockReader, BlockWriter, Pool, WriteSession } from '@openservice/pools';
import type { PoolRight } from '@openservice/protocol';
import type { Access } from './access.ts';
import type { ByteGate } from './byte-gate.ts';
import type { ChunkBuffers } from './chunk-buffers.ts';
import type { IdleTable } from './idle-table.ts';
import type { Turns } from './turns.ts';

export interface OpenReader {
  poolKey: string;
  blockId: string;
  reader: BlockReader;
}

export interface OpenSession {
  poolKey: string;
  session: WriteSession;
  writer: BlockWriter;
}

export interface Limits {
  /** ms for the head of a request. */
  headMs: number;
  /** ms for the whole body of a request, but for content. */
  bodyMs: number;
  /** ms without a byte of content. */
  contentSilenceMs: number;
  /** ms that a client may leave an answer unread. */
  stallMs: number;
  /** ms that a write session stays open without a request. */
  sessionIdleMs: number;
  readerIdleMs: number;
  connections: number;
  sessions: number;
  readers: number;
}

export interface Shared {
  workers: ChunkWorkers;
  access: Access;
  /** The pool of an id of this center that lies here, or of a name that this node exports. */
  pool(name: string, signal: AbortSignal): Promise<Pool>;
  /** What that pool is called in tokens. */
  resource(name: string): string;
  readers: IdleTable<OpenReader>;
  sessions: IdleTable<OpenSession>;
  incoming: ByteGate;
  outgoing: ByteGate;
  buffers: ChunkBuffers;
  /** Of opening sessions, by pool and block. */
  turns: Turns;
  limits: Limits;
}

export interface Request {
  request: IncomingMessage;
  response: ServerResponse;
  query: URLSearchParams;
  /** Fires when the client is gone, or the server stops. */
  signal: AbortSignal;
}

/** A request about one pool, or one block of it; its token has been found good for that. */
export interface PoolRequest extends Request {
  poolKey: string;
  pool: Pool;
}

export interface BlockRequest extends PoolRequest {
  blockId: string;
}

export type Demand = (block: string | null, right: PoolRight) => void;

/** A whole number of the query. PermanentError `bad_request`. */
export function numberOf(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? '';
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new PermanentError('bad_request', `The query needs a whole number ${name}.`);
  return value;
}
