/** What a center passes on of a client's upload. Token: pool `content`, that block, right `write`. */
import type { IncomingMessage } from 'node:http';
import { CancelledError, PermanentError, TransientError } from '@openservice/domain';
import { failureToWire } from '@openservice/pools';
import { ContentOffsetError, type ContentStore } from '../content/content-store.ts';
import type { Limits, Request } from './context.ts';
import { sendJson, statusOf } from './respond.ts';

export const CONTENT_RESOURCE = 'content';

export async function contentOffset({ response }: Request, blockId: string, content: ContentStore): Promise<void> {
  response.writeHead(200, { 'content-offset': await content.offset(blockId), 'content-length': 0 });
  response.end();
}

export async function putContent(at: Request, blockId: string, content: ContentStore, limits: Limits): Promise<void> {
  const { request, response, signal } = at;
  const { offset, length, total } = rangeOf(request);
  try {
    const next = await content.append(blockId, { offset, total }, pieceOf(request, length, limits, signal), signal);
    sendJson(response, { offset: next }, 200, { 'content-offset': String(next) });
  } catch (error) {
    if (!(error instanceof ContentOffsetError)) throw error;
    const headers = { 'content-offset': String(error.offset), ...(request.complete ? {} : { connection: 'close' }) };
    sendJson(response, { error: failureToWire(error), offset: error.offset }, statusOf(error), headers);
  }
}

/** Exactly `length` bytes, each soon after the one before. */
async function* pieceOf(request: IncomingMessage, length: number, limits: Limits, signal: AbortSignal): AsyncGenerator<Buffer> {
  let got = 0;
  const late = (): void => void request.destroy(new TransientError('timed_out', 'The content stopped coming.'));
  let timer = setTimeout(late, limits.contentSilenceMs);
  try {
    for await (const part of request.iterator({ destroyOnReturn: false })) {
      clearTimeout(timer);
      got += (part as Buffer).length;
      if (got > length) throw new PermanentError('content_range_invalid', `More bytes came than Content-Range says (${length}).`);
      yield part as Buffer;
      timer = setTimeout(late, limits.contentSilenceMs);
    }
  } catch (error) {
    if (signal.aborted) throw new CancelledError('The client is gone.', { cause: error });
    throw error;
  } finally {
    clearTimeout(timer);
  }
  if (got < length)
    throw new PermanentError('content_range_invalid', `Only ${got} of the ${length} bytes came that Content-Range says.`);
}

/** `bytes a-b/total`, or `bytes *` `/0` for content of no bytes. */
function rangeOf(request: IncomingMessage): { offset: number; length: number; total: number } {
  const text = request.headers['content-range'] ?? '';
  if (text === 'bytes */0') return { offset: 0, length: 0, total: 0 };
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/.exec(text);
  const [first = Number.NaN, last = Number.NaN, total = Number.NaN] = (match ?? []).slice(1).map(Number);
  if (![first, last, total].every(Number.isSafeInteger) || first > last || last >= total) {
    throw new PermanentError(
      'content_range_invalid',
      'PUT of content needs Content-Range: bytes first-last/total, with last below total.',
    );
  }
  const length = last - first + 1;
  const said = request.headers['content-length'];
  if (said !== undefined && Number(said) !== length) {
    throw new PermanentError('content_range_invalid', `Content-Length is ${said}, but Content-Range says ${length} bytes.`);
  }
  return { offset: first, length, total };
}
