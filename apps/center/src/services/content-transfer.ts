/** What passes between the center and the node that takes a block's content: how far it is, and a piece of it, streamed. */
import { once } from 'node:events';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { PermanentError, TransientError } from '@openservice/domain';
import { answerTo, away, type ContentServer, startRequest } from './content-server.ts';
import { invalidRequest, Refusal } from './refusal.ts';

const MOST_ANSWER_BYTES = 65_536;

/** `total`: bytes of the whole content. */
export interface Piece {
  offset: number;
  length: number;
  total: number;
}

const pathOf = (blockId: string): string => `/v1/content/${blockId}`;

/** Bytes that are durable on the node; 0 where nothing came yet. TransientError `node_unavailable`. */
export async function contentOffset(server: ContentServer, blockId: string): Promise<number> {
  const call = await startRequest(server, 'HEAD', pathOf(blockId), {});
  call.end();
  const answer = await answerTo(server, call);
  answer.resume();
  const offset = Number(answer.headers['content-offset']);
  if (answer.statusCode === 200 && Number.isSafeInteger(offset) && offset >= 0) return offset;
  throw away(server, new Error(`it answered ${answer.statusCode} when it was asked how much it has`));
}

export function offsetMismatch(blockId: string, given: number, offset: number): Refusal {
  return new Refusal(
    'content_offset_mismatch',
    `The content of block ${blockId} is there up to byte ${offset}, and the piece begins at ${given}; go on from ${offset}.`,
    { offset },
  );
}

/**
 * Sends `body` as it comes, never more of it in memory than sockets hold, and answers the durable offset. Refusal for a body that is shorter
 * or longer than `piece` (what came counts), `content_offset_mismatch`; TransientError `node_unavailable`; the client's own error when it went away.
 */
export async function sendContent(
  server: ContentServer,
  blockId: string,
  piece: Piece,
  body: ReadableStream<Uint8Array>,
): Promise<number> {
  const last = piece.offset + piece.length - 1;
  const call = await startRequest(server, 'PUT', pathOf(blockId), {
    'Content-Type': 'application/octet-stream',
    'Content-Length': piece.length,
    'Content-Range': `bytes ${piece.offset}-${last}/${piece.total}`,
  });
  const answering = answerTo(server, call);
  try {
    // A node that refuses answers before it has read everything: then there is no use in sending on.
    await Promise.race([answering, pass(body, call, piece.length)]);
    const answer = await answering;
    return await offsetOf(answer, server, blockId, piece);
  } finally {
    call.destroy();
  }
}

async function pass(body: ReadableStream<Uint8Array>, call: ClientRequest, length: number): Promise<void> {
  const reader = body.getReader();
  const gone = new AbortController();
  call.once('close', () => gone.abort());
  let left = length;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (call.destroyed) return;
      if (done) break;
      if (value.byteLength > left)
        throw invalidRequest([{ path: 'body', message: `is longer than the ${length} bytes it was to have` }]);
      left -= value.byteLength;
      if (!call.write(value)) await drained(call, gone.signal);
    }
    if (left > 0) throw invalidRequest([{ path: 'body', message: `ended ${left} bytes before the ${length} it was to have` }]);
    call.end();
  } finally {
    reader.releaseLock();
  }
}

/** What is gone drains no more: that is for the answer to say. */
async function drained(call: ClientRequest, gone: AbortSignal): Promise<void> {
  try {
    await once(call, 'drain', { signal: gone });
  } catch (error) {
    if (!gone.aborted && !call.destroyed) throw error;
  }
}

async function offsetOf(answer: IncomingMessage, server: ContentServer, blockId: string, piece: Piece): Promise<number> {
  const told = await readAnswer(answer);
  const status = answer.statusCode ?? 0;
  const offset = typeof told.offset === 'number' ? told.offset : Number(answer.headers['content-offset']);
  if (status >= 200 && status < 300 && Number.isSafeInteger(offset)) return offset;
  const { code, message, outcome } = failureOf(told);
  if (code === 'content_offset_mismatch') {
    throw offsetMismatch(blockId, piece.offset, Number.isSafeInteger(offset) ? offset : await contentOffset(server, blockId));
  }
  // That the center's own token is refused is nothing that the client can mend.
  const isOurs = status === 401 || status === 403 || code === '' || code === 'internal';
  if (outcome === 'permanent' && !isOurs) throw new PermanentError(code, message);
  if (code === 'content_busy') throw new TransientError(code, message);
  throw new TransientError('node_unavailable', `Node ${server.nodeId} did not take the content (${status}): ${message}`);
}

async function readAnswer(answer: IncomingMessage): Promise<Record<string, unknown>> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of answer as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > MOST_ANSWER_BYTES) break;
    parts.push(part);
  }
  try {
    const parsed: unknown = JSON.parse(Buffer.concat(parts).toString('utf8'));
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** `{error: {code, message, outcome}}`; the first is empty where it is no failure of a pool server. */
function failureOf(told: Record<string, unknown>): { code: string; message: string; outcome: string } {
  const failure = typeof told.error === 'object' && told.error !== null ? (told.error as Record<string, unknown>) : {};
  const text = (value: unknown): string => (typeof value === 'string' ? value : '');
  return { code: text(failure.code), message: text(failure.message) || 'it gave no reason', outcome: text(failure.outcome) };
}
