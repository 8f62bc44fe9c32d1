/** Answers: JSON, failures with their status, lines, batches of items; all with back pressure. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { CancelledError, type OpenServiceError } from '@openservice/domain';
import { encodeItem, failureToWire, type Item, type WireFailure } from '@openservice/pools';

/** A caller gives a silent server up after 60 s. */
const SPACE_EVERY_MS = 10_000;

const STATUS: Readonly<Record<string, number>> = {
  unauthorized: 401,
  forbidden: 403,
  block_not_in_pool: 404,
  content_not_found: 404,
  pool_not_found: 404,
  not_found: 404,
  method_not_allowed: 405,
  session_lost: 409,
  content_busy: 409,
  content_offset_mismatch: 409,
  content_total_mismatch: 409,
  body_too_large: 413,
  content_range_invalid: 416,
  bad_request: 400,
  bad_batch: 400,
  internal: 500,
  no_space: 507,
};

export function statusOf({ code, outcome }: OpenServiceError): number {
  return STATUS[code] ?? { permanent: 422, transient: 503, fenced: 409, cancelled: 503 }[outcome];
}

/** What a caller is told. Work is cancelled here only when the server stops: to the caller that is a failure that passes. */
export function failureOf(error: unknown): WireFailure {
  const failure = failureToWire(error);
  if (failure.outcome !== 'cancelled') return failure;
  return { code: 'server_stopping', message: 'The pool server is stopping; it is tried again.', outcome: 'transient' };
}

export function sendJson(response: ServerResponse, value: unknown, status = 200, headers: Record<string, string> = {}): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length, ...headers });
  response.end(body);
}

export function sendBytes(response: ServerResponse, body: Buffer): void {
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body.length });
  response.end(body);
}

/** `work`'s result as JSON. One that takes long is begun with 200 and kept alive by spaces; its failure then stands in the body. */
export async function answer(response: ServerResponse, work: Promise<unknown>): Promise<void> {
  const timer = setInterval(() => {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/json' });
    response.write(' ');
  }, SPACE_EVERY_MS);
  try {
    const value = await work;
    if (response.headersSent) response.end(JSON.stringify(value));
    else sendJson(response, value);
  } catch (error) {
    if (!response.headersSent) throw error;
    response.end(JSON.stringify({ error: failureOf(error) }));
  } finally {
    clearInterval(timer);
  }
}

/** One JSON value a line; the last line says `end`, or what went wrong. `said`: call it with lines that come beside those of `lines`. */
export async function answerLines(
  response: ServerResponse,
  lines: (say: (line: unknown) => void) => AsyncIterable<unknown>,
  signal: AbortSignal,
): Promise<void> {
  const timer = setInterval(() => void response.write(' '), SPACE_EVERY_MS);
  const head = (): void => {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  };
  try {
    for await (const line of lines((said) => {
      head();
      // Progress that a slow reader has not taken is of no use to it.
      if (!response.writableNeedDrain) response.write(`${JSON.stringify(said)}\n`);
    })) {
      head();
      await write(response, Buffer.from(`${JSON.stringify(line)}\n`), signal);
    }
    head();
    response.end(`${JSON.stringify({ end: true })}\n`);
  } catch (error) {
    if (!response.headersSent) throw error;
    response.end(`${JSON.stringify({ error: failureOf(error) })}\n`);
  } finally {
    clearInterval(timer);
  }
}

/** Resolves when the bytes are on their way and may be reused. */
export async function writeItem(response: ServerResponse, item: Item, signal: AbortSignal): Promise<void> {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/octet-stream' });
  for (const part of encodeItem(item)) await write(response, part, signal);
}

/** Cuts an answer off of which the client has taken nothing for `ms`: what it holds in memory is wanted by others. */
export function cutStalled(response: ServerResponse, ms: number): void {
  let seen = '';
  const timer = setInterval(() => {
    const now = `${response.socket?.bytesWritten} ${response.writableLength}`;
    if (response.writableLength > 0 && now === seen) response.destroy();
    seen = now;
  }, ms).unref();
  response.on('close', () => clearInterval(timer));
}

/** Resolves once the kernel has the bytes. Rejects soon after the peer is gone. */
async function write(response: ServerResponse, bytes: Buffer, signal: AbortSignal): Promise<void> {
  if (signal.aborted) throw new CancelledError('The client is gone.');
  if (bytes.length === 0) return;
  let written = (): void => undefined;
  const done = new Promise<void>((resolve) => {
    written = resolve;
  });
  response.write(bytes, () => written());
  const gone = new AbortController();
  try {
    await Promise.race([done, once(signal, 'abort', { signal: gone.signal }).catch(() => undefined)]);
  } finally {
    gone.abort();
  }
  if (signal.aborted) throw new CancelledError('The client is gone.');
}
