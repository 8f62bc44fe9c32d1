/** One range of a file, however often the connection is cut: what came is kept, and only the rest is asked for again. */
import { setTimeout as pause } from 'node:timers/promises';
import { type OpenServiceError, PermanentError, TransientError } from '@openservice/domain';
import { type HttpIdentity, identityOf, noRanges, readContentRange, refuseEncoded } from './http-probe.ts';
import { connectionError, type HttpAnswer, type HttpClient, safeName, statusError } from './http-request.ts';

/** Tries in a row that bring not a byte. */
const TRIES = 4;
const FIRST_PAUSE = 200;

export interface RangeSource {
  client: HttpClient;
  url: string;
  identity: HttpIdentity;
}

/** Fills `into` with the bytes from `offset` on. PermanentError `source_changed` as soon as the server has another state of the file. */
export async function fetchRange(source: RangeSource, offset: number, into: Buffer, signal: AbortSignal): Promise<void> {
  let got = 0;
  for (let vain = 0; got < into.length; ) {
    const before = got;
    try {
      const onBytes = (bytes: number) => {
        got += bytes;
      };
      await fetchSome(source, offset + got, into.subarray(got), onBytes, signal);
    } catch (error) {
      const known = connectionError(source.url, error, signal);
      if (known.outcome !== 'transient') throw known;
      vain = got > before ? 0 : vain + 1;
      if (vain >= TRIES) throw known;
      await pause(FIRST_PAUSE * 2 ** vain, undefined, { signal }).catch((cause: unknown) => {
        throw connectionError(source.url, cause, signal);
      });
    }
  }
}

async function fetchSome(
  source: RangeSource,
  offset: number,
  into: Buffer,
  onBytes: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { client, url, identity } = source;
  const range = `bytes=${offset}-${offset + into.length - 1}`;
  const answer = await client.get(url, { range, ...conditions(identity) }, signal);
  try {
    demandSame(source, answer);
    const told = readContentRange(url, answer);
    if (told.first !== offset || told.last >= offset + into.length) {
      throw new PermanentError('source_unreadable', `The server of ${safeName(url)} sends another range than it was asked for.`);
    }
    let at = 0;
    for await (const part of answer.body) {
      const bytes = (part as Buffer).subarray(0, into.length - at);
      bytes.copy(into, at);
      at += bytes.length;
      onBytes(bytes.length);
      // One that sends on for ever is not listened to.
      if (at === into.length) break;
    }
    if (at < into.length) throw new TransientError('unreachable', `The server of ${safeName(url)} ended its answer early.`);
  } finally {
    answer.body.destroy();
  }
}

/** The server itself refuses to serve another state; what it serves all the same is compared. */
function conditions({ etag, last_modified }: HttpIdentity): Record<string, string> {
  if (etag !== null && !etag.startsWith('W/')) return { 'if-match': etag, 'if-range': etag };
  if (last_modified !== null) return { 'if-unmodified-since': last_modified, 'if-range': last_modified };
  return {};
}

/** PermanentError `source_changed`, `source_no_ranges`; the status's own error. */
export function demandSame({ url, identity }: RangeSource, answer: HttpAnswer): void {
  if (answer.status !== 206 && answer.status !== 200) throw statusError(url, answer.status);
  const whole = answer.status === 200;
  const size = whole ? Number(answer.headers['content-length'] ?? identity.size) : readContentRange(url, answer).size;
  const now = identityOf(size, answer);
  if (now.etag !== identity.etag || now.last_modified !== identity.last_modified || now.size !== identity.size)
    throw changed(url);
  if (whole) throw noRanges(url);
  refuseEncoded(url, answer);
}

export function changed(url: string): OpenServiceError {
  return new PermanentError(
    'source_changed',
    `${safeName(url)} was changed while it was imported, so the copy would be of no one point in time; import it again.`,
  );
}
