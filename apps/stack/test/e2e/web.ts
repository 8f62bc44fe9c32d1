/** A web server with one file: ranges, an ETag, and connections that it cuts in the middle of an answer. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { freePort } from './servers.ts';

export interface FlakyWeb {
  url: string;
  /** Answers that were cut so far. */
  cut: number;
  close(): Promise<void>;
}

/** The first `cuts` answers to ranges of 256 KiB and more break off half-way. */
export async function startFlakyWeb(path: string, cuts: number): Promise<FlakyWeb> {
  const bytes = await readFile(path);
  const server = createServer((request, response) => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const headers = { etag: '"one"', 'accept-ranges': 'bytes' };
    if (first === undefined || last === undefined) {
      response.writeHead(200, { ...headers, 'content-length': bytes.length });
      response.end(request.method === 'HEAD' ? undefined : bytes);
      return;
    }
    const part = bytes.subarray(Number(first), Number(last) + 1);
    const range = `bytes ${first}-${Number(first) + part.length - 1}/${bytes.length}`;
    response.writeHead(206, { ...headers, 'content-range': range, 'content-length': part.length });
    if (web.cut < cuts && part.length >= 256 * 1024) {
      web.cut++;
      response.write(part.subarray(0, part.length >> 1), () => response.socket?.destroy());
    } else response.end(part);
  });
  const port = await freePort();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const web: FlakyWeb = {
    url: `http://127.0.0.1:${port}/disk.img`,
    cut: 0,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
  return web;
}
