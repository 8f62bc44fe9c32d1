import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { MIB } from '@openservice/domain';
import type { SourceRef } from '@openservice/protocol';
import { openLookup } from '@openservice/runtime';
import { transfer } from '@openservice/transfer';
import { expect } from 'chai';
import { ImportRoots } from '../src/import-roots.ts';
import { askServer } from '../src/sources/http-probe.ts';
import { fetchRange } from '../src/sources/http-range.ts';
import { HttpClient } from '../src/sources/http-request.ts';
import { openSource, probeSource } from '../src/sources/open-source.ts';
import { openTarget, type RestoreTarget } from '../src/targets/open-target.ts';
import { answer, CHUNK, type FaultyWeb, failureOf, makeSite, never, readAll, type Site, serveFile } from './sources.support.ts';

const SIZE = 11 * MIB + 77;

describe('web servers as sources', () => {
  let site: Site;
  let web: FaultyWeb;
  let path: string;
  let bytes: Buffer;

  beforeEach(async () => {
    site = await makeSite();
    path = join(site.dir, 'disk.raw');
    bytes = Buffer.concat([randomBytes(3 * MIB), Buffer.alloc(5 * MIB), randomBytes(3 * MIB + 77)]);
    await writeFile(path, bytes);
    web = await serveFile(path);
  });
  afterEach(async () => {
    await web.close();
    await site.remove();
  });

  type HttpRef = Extract<SourceRef, { type: 'http' }>;
  const opened = (more: Partial<HttpRef> = {}, before: unknown = null, size = SIZE) =>
    openSource(
      site.deps,
      { type: 'http', url: web.url, format: 'raw', ...more },
      { id: 'block-1', size, chunkSize: CHUNK },
      before,
      never,
    );
  const probe = (format: 'raw' | 'qcow2' | null = null, url = web.url) =>
    probeSource(site.deps, { type: 'http', url, format }, never);
  async function content() {
    const source = await opened();
    try {
      const { bytes: read } = await readAll(source);
      await source.assertUnchanged();
      return read;
    } finally {
      await source.close();
    }
  }

  it('are read by ranges that chunks share', async () => {
    expect(await probe()).to.deep.equal({ size: SIZE, format: 'raw', etag: '"one"', last_modified: null });
    web.ranges = [];
    expect((await content()).equals(bytes)).to.equal(true);
    // The probe at either end, and three ranges of 4 MiB.
    expect(web.ranges).to.have.length(5);
  });

  it('give many chunks at once to a transfer, zeros as holes', async () => {
    const source = await opened();
    const importRoots = new ImportRoots([site.root]);
    const target: RestoreTarget = await openTarget(
      { importRoots, workers: site.deps.workers },
      { type: 'file', path: join(site.root, 'out') },
      { size: SIZE, chunkSize: CHUNK, jobId: 'job-1', resume: null, delta: false, signal: never },
    );
    const { counters } = await transfer({ source, writer: target, signal: never });
    await target.commit(never);
    await target.close();
    await source.close();
    expect((await readFile(join(site.root, 'out'))).equals(bytes)).to.equal(true);
    expect(counters.bytesSkipped).to.equal(5 * MIB);
  });

  it('are not listened to beyond what they were asked for', async () => {
    web.fault = (request, response) => {
      const [, first, last] = /^bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
      const range = { etag: '"one"', 'content-range': `bytes ${first}-${last}/${SIZE}` };
      response.writeHead(206, range).write(bytes.subarray(Number(first), Number(last) + 1));
      const more = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
      };
      response.on('drain', more);
      more();
      return true;
    };
    expect(await probe()).to.include({ size: SIZE, format: 'raw' });
    expect((await content()).equals(bytes)).to.equal(true);
  });

  it('are not looked for where machines are told their secrets, by name, number or redirect', async () => {
    web.fault = (_request, response) => {
      response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data/' }).end();
      return true;
    };
    for (const url of [
      web.url,
      'http://169.254.169.254/latest/meta-data/',
      'http://0xa9fea9fe/',
      'http://[::ffff:169.254.169.254]/',
      'http://[fe80::1]/',
      'https://[fd00:ec2::254]/',
    ]) {
      expect(await failureOf(probe(null, url)), url).to.include({ code: 'address_not_allowed' });
    }
    const named = await new Promise((resolve) => openLookup('169.254.169.254', {}, resolve));
    expect(named).to.include({ code: 'address_not_allowed' });
  });

  it('are asked for the rest when a connection is cut', async () => {
    let cuts = 0;
    web.fault = (request, response) => {
      const [, first, last] = /^bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
      if (request.headers['if-match'] === undefined || cuts === 6) return false;
      cuts++;
      const at = Number(first);
      response.writeHead(206, { etag: '"one"', 'content-range': `bytes ${at}-${last}/${SIZE}` });
      response.write(bytes.subarray(at, at + 100_000), () => request.socket.resetAndDestroy());
      return true;
    };
    expect((await content()).equals(bytes)).to.equal(true);
    expect(cuts).to.equal(6);
  });

  it('are tried again after a 503, and given up when it stays', async () => {
    let refused = 0;
    web.fault = (request, response) => {
      if (request.headers['if-match'] === undefined || ++refused > 2) return false;
      response.writeHead(503).end();
      return true;
    };
    expect((await content()).equals(bytes)).to.equal(true);
    web.fault = (request, response) => {
      if (request.headers['if-match'] === undefined) return false;
      response.writeHead(503).end();
      return true;
    };
    const source = await opened();
    const error = await failureOf(source.readChunk(0, Buffer.alloc(CHUNK), never));
    expect(error).to.include({ code: 'unreachable', outcome: 'transient' });
    await source.close();
  });

  it('whose file changes fail the import, also where they do not honour If-Match', async () => {
    const source = await opened();
    await source.readChunk(0, Buffer.alloc(CHUNK), never);
    web.headers = { etag: '"two"' };
    expect(await failureOf(source.readChunk(150, Buffer.alloc(CHUNK), never))).to.include({ code: 'source_changed' });
    web.fault = (request, response) => {
      delete request.headers['if-match'];
      delete request.headers['if-range'];
      answer(request, response, bytes, web.headers);
      return true;
    };
    expect(await failureOf(source.readChunk(170, Buffer.alloc(CHUNK), never))).to.include({ code: 'source_changed' });
    expect(await failureOf(source.assertUnchanged())).to.include({ code: 'source_changed' });
    await source.close();
    const accepted = { etag: '"one"', last_modified: null };
    expect(await failureOf(opened({ identity: accepted }))).to.include({ code: 'source_changed' });
    expect(await failureOf(opened({}, { size: SIZE, etag: '"one"', last_modified: null }))).to.include({
      code: 'source_changed',
    });
    expect(await failureOf(opened({}, null, SIZE - 1))).to.include({ code: 'source_changed' });
  });

  it('are compared by Last-Modified where the ETag is weak or missing, and noted where there is neither', async () => {
    web.headers = { 'last-modified': 'Tue, 01 Jan 2030 00:00:00 GMT', etag: 'W/"one"' };
    const source = await opened();
    expect(source.notes()).to.deep.equal([]);
    web.headers = { 'last-modified': 'Tue, 01 Jan 2030 00:00:01 GMT', etag: 'W/"one"' };
    expect(await failureOf(source.readChunk(0, Buffer.alloc(CHUNK), never))).to.include({ code: 'source_changed' });
    await source.close();
    web.headers = {};
    const other = await opened();
    expect(other.notes()[0]).to.contain('neither ETag nor Last-Modified');
    await other.close();
  });

  it('that serve no ranges, or encode, are refused', async () => {
    web.fault = (request, response) => {
      delete request.headers.range;
      answer(request, response, bytes, web.headers);
      return true;
    };
    expect(await failureOf(probe())).to.include({ code: 'source_no_ranges' });
    expect(await failureOf(opened())).to.include({ code: 'source_no_ranges' });
    web.fault = () => false;
    web.headers = { etag: '"one"', 'content-encoding': 'gzip' };
    expect(await failureOf(probe())).to.include({ code: 'source_encoded' });
  });

  it('that answer with an error are told apart', async () => {
    for (const [status, code] of [
      [404, 'source_not_found'],
      [403, 'source_unreadable'],
      [418, 'source_unreadable'],
      [500, 'unreachable'],
    ] as const) {
      web.fault = (_request, response) => {
        response.writeHead(status).end();
        return true;
      };
      expect(await failureOf(probe()), String(status)).to.include({ code });
    }
    expect(await failureOf(probe(null, 'http://127.0.0.1:1/disk?signature=secret'))).to.include({ code: 'unreachable' });
    expect((await failureOf(probe(null, 'http://127.0.0.1:1/disk?signature=secret'))).message).to.not.contain('secret');
    expect(await failureOf(probe(null, 'file:///etc/passwd'))).to.include({ code: 'bad_url' });
  });

  it('may lead elsewhere a few times, and to http only', async () => {
    let location = web.url;
    const door = createServer((_request, response) => response.writeHead(302, { location }).end());
    door.listen(0, '127.0.0.1');
    await once(door, 'listening');
    const address = door.address();
    const url = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}/`;
    try {
      expect(await probe(null, url)).to.include({ size: SIZE });
      location = url;
      expect((await failureOf(probe(null, url))).message).to.contain('more than 5 times');
      location = 'file:///etc/passwd';
      expect(await failureOf(probe(null, url))).to.include({ code: 'source_unreadable' });
    } finally {
      door.close();
      door.closeAllConnections();
    }
  });

  it('with an image that is not raw are refused, unless it is said to be a plain disk', async () => {
    Buffer.from('QFI\xfb', 'latin1').copy(bytes);
    await writeFile(path, bytes);
    expect(await failureOf(probe())).to.include({ code: 'image_format_unsupported' });
    expect(await failureOf(probe('qcow2'))).to.include({ code: 'image_format_unsupported' });
    expect(await failureOf(opened({ format: 'qcow2' }))).to.include({ code: 'image_format_unsupported' });
    expect(await probe('raw')).to.include({ size: SIZE, format: 'raw' });
    await writeFile(path, randomBytes(1000));
    expect(await failureOf(probe('qcow2'))).to.include({ code: 'image_format_mismatch' });
    await writeFile(path, '');
    expect(await probe()).to.include({ size: 0 });
  });

  it('are let go of at once when the work is stopped', async () => {
    web.fault = (request) => request.headers['if-match'] !== undefined;
    const source = await opened();
    const stop = new AbortController();
    const reading = failureOf(source.readChunk(0, Buffer.alloc(CHUNK), stop.signal));
    stop.abort();
    expect(await reading).to.include({ code: 'cancelled' });
    await source.close();
  });

  it('that fall silent are asked again, and have so much time and no more', async () => {
    let silent = 0;
    web.fault = (request, response) => {
      if (request.headers['if-match'] === undefined || ++silent > 2) return false;
      response.writeHead(206, { etag: '"one"', 'content-range': `bytes 0-99999/${SIZE}` });
      response.write(bytes.subarray(0, 1000));
      return true;
    };
    const client = new HttpClient(1000);
    const { identity } = await askServer(client, web.url, never);
    const into = Buffer.alloc(100_000);
    // Its second answer is of a range that was not asked for.
    const reading = fetchRange({ client, url: web.url, identity }, 0, into, never);
    expect(await failureOf(reading)).to.include({ code: 'source_unreadable' });
    silent = 1;
    await fetchRange({ client, url: web.url, identity }, 0, into, never);
    expect(into.equals(bytes.subarray(0, 100_000))).to.equal(true);
    expect(silent).to.equal(3);
    client.close();
    web.fault = () => true;
    const late = probeSource(site.deps, { type: 'http', url: web.url, format: null }, AbortSignal.timeout(50));
    expect(await failureOf(late)).to.include({ code: 'unreachable', outcome: 'transient' });
  });
});
