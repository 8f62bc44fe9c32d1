/** Uploads over HTTPS, as a center passes them on; and a disk that is full. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { join } from 'node:path';
import { MIB, type OpenServiceError } from '@openservice/domain';
import { tempDir, waitFor } from '@openservice/testkit';
import { expect } from 'chai';
import { cannotMount, mountTmpfs } from '../../../libs/pools/test/support/mounts.ts';
import { ContentStore } from '../src/content/content-store.ts';
import { startPoolServer, type TestServer } from './support/pool-server.ts';

const signal = new AbortController().signal;

interface Answer {
  status: number;
  offset: string | undefined;
  body: { offset?: number; error?: { code: string } };
}

describe('an upload over the pool server', () => {
  let dir: ReturnType<typeof tempDir>;
  let server: TestServer;
  before(async () => {
    dir = tempDir();
    server = await startPoolServer({ dataDir: dir.path });
  });
  after(async () => {
    await server?.stop();
    dir?.remove();
  });

  const options = (method: string, blockId: string, headers: Record<string, string>): RequestOptions => ({
    host: '127.0.0.1',
    port: server.port,
    method,
    path: `/v1/content/${blockId}`,
    headers: { authorization: `Bearer ${server.token('content', blockId, 'write')}`, ...headers },
    rejectUnauthorized: false,
    agent: false,
  });
  const ask = async (method: string, blockId: string, headers: Record<string, string> = {}, body?: Buffer): Promise<Answer> => {
    const request = httpsRequest(options(method, blockId, headers));
    request.end(body);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let text = '';
    for await (const part of response) text += String(part);
    return {
      status: response.statusCode ?? 0,
      offset: response.headers['content-offset'] as string | undefined,
      body: text === '' ? {} : (JSON.parse(text) as Answer['body']),
    };
  };
  const range = (from: number, part: Buffer, total: number): Record<string, string> => ({
    'content-range': `bytes ${from}-${from + part.length - 1}/${total}`,
  });

  it('tells the offset, takes pieces, and says where to go on when one begins elsewhere', async () => {
    const whole = randomBytes(3 * MIB + 5);
    expect(await ask('HEAD', 'block-1')).to.deep.equal({ status: 200, offset: '0', body: {} });
    const first = whole.subarray(0, MIB);
    expect((await ask('PUT', 'block-1', range(0, first, whole.length), first)).body).to.deep.equal({ offset: MIB });
    expect((await ask('HEAD', 'block-1')).offset).to.equal(String(MIB));
    const wrong = await ask('PUT', 'block-1', range(0, first, whole.length), first);
    expect(wrong.status).to.equal(409);
    expect(wrong.offset).to.equal(String(MIB));
    expect([wrong.body.error?.code, wrong.body.offset]).to.deep.equal(['content_offset_mismatch', MIB]);
    const rest = whole.subarray(MIB);
    expect((await ask('PUT', 'block-1', range(MIB, rest, whole.length), rest)).body).to.deep.equal({ offset: whole.length });
    const { handle } = await server.content.open('block-1');
    expect((await handle.readFile()).equals(whole)).to.equal(true);
    await handle.close();
  });

  it('refuses ranges that are missing, past the total, or not what comes', async () => {
    const part = Buffer.from('0123456789');
    for (const header of [
      undefined,
      'bytes 0-9/9',
      'bytes 5-4/10',
      'bytes 0-/10',
      'bytes 0-9/*',
      'bytes 0-8/10',
      'items 0-9/10',
    ]) {
      const { status, body } = await ask('PUT', 'block-2', header === undefined ? {} : { 'content-range': header }, part);
      expect([status, body.error?.code], header).to.deep.equal([416, 'content_range_invalid']);
    }
    expect((await ask('HEAD', 'block-2')).offset).to.equal('0');
    expect((await ask('PUT', 'block-2', { 'content-range': 'bytes */0' })).body).to.deep.equal({ offset: 0 });
  });

  it('counts what came of a piece whose client went away, and lets nobody else in meanwhile', async () => {
    const total = 4 * MIB;
    const request = httpsRequest(
      options('PUT', 'block-3', { 'content-range': `bytes 0-${total - 1}/${total}`, 'content-length': String(total) }),
    );
    request.on('error', () => undefined);
    request.write(randomBytes(MIB + 1234));
    const part = randomBytes(10);
    await waitFor('the piece to be received', async () => {
      const other = await ask('PUT', 'block-3', range(1, part, total), part);
      return other.body.error?.code === 'content_busy' && other.status === 409;
    });
    request.destroy();
    await waitFor('what came to count', async () => Number((await ask('HEAD', 'block-3')).offset) > 0);
    const { offset } = await ask('HEAD', 'block-3');
    expect(Number(offset))
      .to.be.greaterThan(0)
      .and.at.most(MIB + 1234);
    const rest = Buffer.alloc(total - Number(offset), 7);
    expect((await ask('PUT', 'block-3', range(Number(offset), rest, total), rest)).body).to.deep.equal({ offset: total });
  });

  it('names a full disk, keeps what was durable, and goes on when there is room', async function () {
    const reason = cannotMount('tmpfs');
    if (reason !== null) {
      console.log(`      skipped: no tmpfs: ${reason}`);
      return this.skip();
    }
    const disk = await mountTmpfs(4 * MIB);
    try {
      const store = new ContentStore(join(disk.path, 'content'));
      const piece = async function* (bytes: Buffer): AsyncGenerator<Buffer> {
        for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
      };
      const total = 6 * MIB;
      await store.append('block-1', { offset: 0, total }, piece(randomBytes(MIB)), signal);
      const error = await store.append('block-1', { offset: MIB, total }, piece(randomBytes(5 * MIB)), signal).then(
        () => null,
        (thrown: unknown) => thrown as OpenServiceError,
      );
      expect([error?.outcome, error?.code]).to.deep.equal(['permanent', 'no_space']);
      expect(await store.offset('block-1')).to.equal(MIB);
      expect(await store.append('block-1', { offset: MIB, total }, piece(randomBytes(MIB)), signal)).to.equal(2 * MIB);
    } finally {
      await disk.unmount();
    }
  });
});
