/** What the tests of sources share. */

import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, realpath, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { chunkCount, chunkLength, PermanentError } from '@openservice/domain';
import { type ChunkSource, isHole } from '@openservice/pools';
import { ImportRoots } from '../src/import-roots.ts';
import type { SourceDeps } from '../src/sources/open-source.ts';

export const CHUNK = 64 * 1024;
export const never = new AbortController().signal;

export async function failureOf(work: Promise<unknown>): Promise<PermanentError> {
  return work.then(
    () => new PermanentError('none', 'It did not fail.'),
    (error: PermanentError) => error,
  );
}

export interface Site {
  dir: string;
  /** The one import root. */
  root: string;
  deps: SourceDeps;
  remove(): Promise<void>;
}

export async function makeSite(): Promise<Site> {
  const dir = await realpath(await mkdtemp(join(tmpdir(), 'sources-')));
  const root = join(dir, 'root');
  await mkdir(root);
  await mkdir(join(dir, 'scratch'));
  const workers: ChunkWorkers = createChunkWorkers({ threads: 1 });
  const open = async () => {
    throw new PermanentError('content_missing', 'Nothing was sent.');
  };
  return {
    dir,
    root,
    deps: { importRoots: new ImportRoots([root]), workers, content: { open }, scratchDir: join(dir, 'scratch') },
    async remove() {
      await workers.close();
      await rm(dir, { recursive: true });
    },
  };
}

/** All bytes of a source, as an import would read them, and which chunks its extents named. */
export async function readAll(source: ChunkSource): Promise<{ bytes: Buffer; read: number[] }> {
  const bytes = Buffer.alloc(source.size);
  const read: number[] = [];
  const buffer = Buffer.alloc(source.chunkSize);
  for await (const { first, count } of source.extents(0, never)) {
    for (let index = first; index < Math.min(first + count, chunkCount(source.size, source.chunkSize)); index++) {
      read.push(index);
      const digest = await source.readChunk(index, buffer, never);
      const length = chunkLength(source.size, source.chunkSize, index);
      if (!isHole(digest)) buffer.copy(bytes, index * source.chunkSize, 0, length);
    }
  }
  return { bytes, read };
}

export interface FaultyWeb {
  url: string;
  /** Ranges that were asked for, in order. */
  ranges: string[];
  /** May answer itself: then it returns true. */
  fault: (request: IncomingMessage, response: ServerResponse) => boolean;
  headers: Record<string, string>;
  close(): Promise<void>;
}

/** Serves one file with ranges, ETag and If-Match, as nginx does. */
export async function serveFile(path: string): Promise<FaultyWeb> {
  const server = createServer((request, response) => {
    web.ranges.push(request.headers.range ?? '');
    if (web.fault(request, response)) return;
    void readFile(path).then((bytes) => answer(request, response, bytes, web.headers));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const web: FaultyWeb = {
    url: `http://127.0.0.1:${port}/disk.img`,
    ranges: [],
    fault: () => false,
    headers: { etag: '"one"' },
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
  return web;
}

export function answer(request: IncomingMessage, response: ServerResponse, bytes: Buffer, headers: Record<string, string>): void {
  const wanted = request.headers['if-match'];
  if (wanted !== undefined && wanted !== headers.etag) {
    response.writeHead(412, headers).end();
    return;
  }
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  if (first === undefined || last === undefined) {
    response.writeHead(200, { ...headers, 'content-length': bytes.length }).end(bytes);
    return;
  }
  if (Number(first) >= bytes.length) {
    response.writeHead(416, { ...headers, 'content-range': `bytes */${bytes.length}` }).end();
    return;
  }
  const end = Math.min(Number(last) + 1, bytes.length);
  const part = bytes.subarray(Number(first), end);
  const range = `bytes ${first}-${end - 1}/${bytes.length}`;
  response.writeHead(206, { ...headers, 'content-range': range, 'content-length': part.length }).end(part);
}
