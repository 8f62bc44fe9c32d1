/** What a server tells of a file: its size, whether it serves ranges, and what tells one state of it from another. */
import { PermanentError } from '@openservice/domain';
import type { ImageFormat } from '@openservice/protocol';
import type { NodeReply } from '@openservice/runtime';
import { type HttpAnswer, HttpClient, readAtMost, safeName, statusError } from './http-request.ts';
import { mismatch } from './image.ts';
import { recogniseFormat } from './magic.ts';

/** JSON: kept in the journal. */
export interface HttpIdentity {
  size: number;
  etag: string | null;
  last_modified: string | null;
}

/** Bytes of the beginning that come with the first question. */
const START_BYTES = 512;

/** PermanentError `source_no_ranges`, `source_encoded`, `source_unreadable`, …; the first bytes of the file come along. */
export async function askServer(
  client: HttpClient,
  url: string,
  signal: AbortSignal,
): Promise<{ identity: HttpIdentity; start: Buffer }> {
  const answer = await client.get(url, { range: `bytes=0-${START_BYTES - 1}` }, signal);
  try {
    if (answer.status === 416) return { identity: identityOf(emptySize(url, answer), answer), start: Buffer.alloc(0) };
    if (answer.status === 200) {
      if (answer.headers['content-length'] === '0') return { identity: identityOf(0, answer), start: Buffer.alloc(0) };
      throw noRanges(url);
    }
    if (answer.status !== 206) throw statusError(url, answer.status);
    refuseEncoded(url, answer);
    const range = readContentRange(url, answer);
    return { identity: identityOf(range.size, answer), start: await readAtMost(answer.body, START_BYTES) };
  } finally {
    answer.body.destroy();
  }
}

export async function probeHttp(url: string, asked: ImageFormat | null, signal: AbortSignal): Promise<NodeReply<'source_probe'>> {
  const client = new HttpClient();
  try {
    const { identity, start } = await askServer(client, url, signal);
    const { size, etag, last_modified } = identity;
    if (asked !== 'raw') {
      const seen = await recogniseFormat((offset, length) => bytesAt(client, url, { offset, length, start }, signal), size);
      if (asked !== null && asked !== seen) throw mismatch(safeName(url), asked, seen);
      if (seen !== 'raw') throw notRaw(url, seen);
    }
    return { size, format: 'raw', etag, last_modified };
  } finally {
    client.close();
  }
}

export function notRaw(url: string, format: ImageFormat): PermanentError {
  return new PermanentError(
    'image_format_unsupported',
    `${safeName(url)} is an image in ${format}, and over http only raw ones are read; download it into an import root, or say "format": "raw" if it is a plain disk.`,
  );
}

export function noRanges(url: string): PermanentError {
  return new PermanentError(
    'source_no_ranges',
    `The server of ${safeName(url)} serves no ranges, so a download that is cut could not go on; download the file into an import root.`,
  );
}

export function refuseEncoded(url: string, answer: HttpAnswer): void {
  const encoding = answer.headers['content-encoding'] ?? 'identity';
  if (encoding === 'identity' || encoding === '') return;
  throw new PermanentError(
    'source_encoded',
    `The server of ${safeName(url)} sends it encoded (${encoding}) though that was not asked for; its bytes cannot be told.`,
  );
}

export function readContentRange(url: string, answer: HttpAnswer): { first: number; last: number; size: number } {
  const [, first, last, size] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.headers['content-range'] ?? '') ?? [];
  if (first === undefined || last === undefined || size === undefined) {
    throw new PermanentError(
      'source_unreadable',
      `The server of ${safeName(url)} does not say which range it sends, of how many bytes.`,
    );
  }
  return { first: Number(first), last: Number(last), size: Number(size) };
}

export function identityOf(size: number, answer: HttpAnswer): HttpIdentity {
  return { size, etag: answer.headers.etag ?? null, last_modified: answer.headers['last-modified'] ?? null };
}

function emptySize(url: string, answer: HttpAnswer): number {
  if (/^bytes \*\/0$/.test(answer.headers['content-range'] ?? '')) return 0;
  throw statusError(url, 404);
}

async function bytesAt(
  client: HttpClient,
  url: string,
  want: { offset: number; length: number; start: Buffer },
  signal: AbortSignal,
): Promise<Buffer> {
  const { offset, length, start } = want;
  if (offset + length <= start.length) return start.subarray(offset, offset + length);
  const answer = await client.get(url, { range: `bytes=${offset}-${offset + length - 1}` }, signal);
  try {
    if (answer.status !== 206) throw statusError(url, answer.status);
    const bytes = await readAtMost(answer.body, length);
    if (bytes.length !== length) throw noRanges(url);
    return bytes;
  } finally {
    answer.body.destroy();
  }
}
