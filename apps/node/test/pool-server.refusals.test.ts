/** Who is turned away, and how; and that no bytes from the network can do the server harm. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls';
import { newId, type OpenServiceError, PermanentError, type RemotePoolSpec } from '@openservice/domain';
import { openPool, type Pool } from '@openservice/pools';
import { isPoolLogin, signPoolToken } from '@openservice/protocol';
import { tempDir, waitFor } from '@openservice/testkit';
import { expect } from 'chai';
import { fill, rootOf, type TestBlock } from '../../../libs/pools/test/conformance/content.ts';
import { loadCertificate } from '../src/pool-server/certificate.ts';
import { startPoolServer, type TestServer } from './support/pool-server.ts';

const signal = new AbortController().signal;
const BLOCK: TestBlock = { size: 300_000, chunkSize: 65_536, data: new Set([0, 2, 4]) };

interface Answer {
  status: number;
  code: string;
  body: string;
}

describe('the pool server turns away', () => {
  const keys = generateKeyPairSync('ed25519');
  const poolId = newId('pool');
  const logins: string[] = [];
  let dir: ReturnType<typeof tempDir>;
  let server: TestServer;

  before(async () => {
    dir = tempDir();
    const spec = { id: poolId, type: 'local', node_id: 'node-1', path: join(dir.path, 'pool') } as const;
    server = await startPoolServer({
      dataDir: join(dir.path, 'node'),
      specs: [spec],
      keys,
      limits: { headMs: 300, bodyMs: 300, contentSilenceMs: 300 },
      login: async (login) => {
        if (!isPoolLogin(login, 'secret') || login.access_key !== 'key-1') {
          throw new PermanentError('unauthorized', 'That access key was not issued here, or its secret key is another.');
        }
        logins.push(`${login.pool} ${login.block_id ?? ''} ${login.right}`);
        return { token: server.token(login.pool, login.block_id, login.right), expires_in_ms: 60_000 };
      },
    });
    const behind = await server.behind(poolId);
    await behind.probe({ create: true }, signal);
    const writer = await behind.openWriter({ blockId: 'block-1', ...BLOCK, jobId: 'job-1', attempt: 1, fence: 1 }, signal);
    await fill(writer, BLOCK);
    await writer.commit(signal);
    await writer.close();
  });
  after(async () => {
    await server?.stop();
    dir?.remove();
  });

  const ask = async (
    method: string,
    path: string,
    headers: Record<string, string | number> = {},
    body?: Buffer,
  ): Promise<Answer> => {
    const request = httpsRequest({
      host: '127.0.0.1',
      port: server.port,
      method,
      path,
      headers,
      rejectUnauthorized: false,
      agent: false,
    });
    request.on('error', () => undefined);
    request.end(body);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let text = '';
    for await (const part of response) text += String(part);
    const { error } = (text.startsWith('{') ? JSON.parse(text) : {}) as { error?: { code: string } };
    return { status: response.statusCode ?? 0, code: error?.code ?? '', body: text };
  };
  const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });
  const stat = `/v1/pools/${poolId}/blocks/block-1`;
  const failure = async (call: Promise<unknown>): Promise<OpenServiceError> => {
    const error = await call.then(
      () => null,
      (thrown: unknown) => thrown as OpenServiceError,
    );
    if (error === null) throw new Error('it was not refused');
    return error;
  };
  const opened = async <T>(changes: Partial<RemotePoolSpec>, work: (pool: Pool) => Promise<T>): Promise<T> => {
    const pool = server.open(poolId, changes);
    try {
      return await work(pool);
    } finally {
      await pool.close();
    }
  };
  const stillServes = async (): Promise<void> => {
    expect((await ask('GET', stat, bearer(server.token(poolId, 'block-1', 'read')))).status).to.equal(200);
  };

  it('requests without a token, and tokens that are forged, damaged, expired or nonsense', async () => {
    const good = server.token(poolId, 'block-1', 'read');
    const other = generateKeyPairSync('ed25519');
    const payload = { pool: poolId, block: 'block-1', right: 'read', exp: Date.now() + 60_000 } as const;
    const [head, , tail] = good.split('.');
    const body = Buffer.from(JSON.stringify({ ...payload, block: 'block-2' })).toString('base64url');
    expect((await ask('GET', stat, bearer(good))).status).to.equal(200);
    for (const headers of [
      {},
      bearer(''),
      bearer('x'),
      bearer('v1.x.y'),
      bearer(signPoolToken(payload, other.privateKey)),
      bearer(`${head}.${body}.${tail}`),
      bearer(`${good}x.y`),
      bearer(server.token(poolId, 'block-1', 'read', -1)),
      { authorization: `Basic ${good}` },
    ]) {
      const { status, code } = await ask('GET', stat, headers);
      expect([status, code], JSON.stringify(headers)).to.deep.equal([401, 'unauthorized']);
    }
  });

  it('tokens of another pool, another block, another right, and of a block for the pool as a whole', async () => {
    const fence = Buffer.from('{"fence":9}');
    const cases: [string, string, string, Buffer?][] = [
      ['GET', stat, server.token(newId('pool'), 'block-1', 'read')],
      ['GET', stat, server.token('node-1/default', 'block-1', 'read')],
      ['GET', stat, server.token(poolId, 'block-2', 'read')],
      ['GET', stat, server.token(poolId, null, 'read')],
      ['GET', stat, server.token(poolId, 'block-1', 'manage')],
      ['POST', `${stat}/remove`, server.token(poolId, 'block-1', 'read'), fence],
      ['POST', `${stat}/trash`, server.token(poolId, 'block-1', 'read'), fence],
      ['POST', `${stat}/sessions`, server.token(poolId, 'block-1', 'read'), fence],
      ['POST', `${stat}/repair?index=0`, server.token(poolId, 'block-1', 'read')],
      ['POST', `/v1/pools/${poolId}/probe`, server.token(poolId, 'block-1', 'write')],
      ['GET', `/v1/pools/${poolId}/blocks`, server.token(poolId, null, 'write')],
      ['POST', `/v1/pools/${poolId}/collect`, server.token(poolId, null, 'read')],
      ['GET', `/v1/pools/default/blocks`, server.token(poolId, null, 'manage')],
      ['GET', `/v1/pools/default/blocks`, server.token('node-2/default', null, 'manage')],
      ['PUT', '/v1/content/block-1', server.token(poolId, 'block-1', 'write')],
      ['PUT', '/v1/content/block-1', server.token('content', 'block-2', 'write')],
      ['HEAD', '/v1/content/block-1', server.token('content', 'block-1', 'read')],
    ];
    for (const [method, path, token, body] of cases) {
      const { status, code } = await ask(method, path, bearer(token), body);
      expect(status, `${method} ${path}`).to.equal(403);
      if (method !== 'HEAD') expect(code).to.equal('forbidden');
    }
    expect(await (await server.behind(poolId)).stat('block-1', signal)).to.not.equal(null);
  });

  it('a clone of a block that the client may not read', async () => {
    const body = { size: BLOCK.size, chunk_size: BLOCK.chunkSize, job_id: 'job-2', attempt: 1, fence: 2, clone_of: 'block-1' };
    const path = `/v1/pools/${poolId}/blocks/block-2/sessions`;
    const write = bearer(server.token(poolId, 'block-2', 'write'));
    const tries = [{}, { 'source-authorization': write.authorization! }];
    const statuses: number[] = [];
    for (const more of tries)
      statuses.push((await ask('POST', path, { ...write, ...more }, Buffer.from(JSON.stringify(body)))).status);
    expect(statuses).to.deep.equal([401, 403]);
  });

  it('all tokens until the center has told its key, as something that passes', async () => {
    const place = tempDir();
    const fresh = await startPoolServer({ dataDir: place.path, keys, withoutKey: true });
    const pool = fresh.open('default');
    const error = await failure(pool.stat('block-1', signal));
    expect([error.outcome, error.code]).to.deep.equal(['transient', 'token_key_unknown']);
    await pool.close();
    await fresh.stop();
    place.remove();
  }).timeout(20_000);

  it('what is no call, no pool and no block, without a look at any file', async () => {
    const token = bearer(server.token(poolId, 'block-1', 'write'));
    for (const [path, status] of [
      ['/', 404],
      ['/v2/pools/default', 404],
      ['//[', 400],
      [`/v1/pools/${poolId}/blocks/block-2%2f..%2fblock-1`, 400],
      [`/v1/pools/${poolId}/blocks%2fblock-1`, 403],
      [`/v1/pools/${encodeURIComponent('../x')}/blocks`, 404],
      [`/v1/pools/${poolId}/blocks/${encodeURIComponent('../..')}`, 400],
      [`/v1/pools/${poolId}/blocks/%E0%A4%A`, 404],
      [`${stat}/nonsense`, 404],
      [`${stat}/extents?from=-1&root_digest=${'0'.repeat(64)}`, 400],
      [`${stat}/bytes?offset=0&length=999999999&root_digest=${'0'.repeat(64)}`, 400],
    ] as const) {
      expect((await ask('GET', path, token)).status, path).to.equal(status);
    }
  });

  it('a body that is too large, before and while it is sent', async () => {
    const path = `${stat}/chunks`;
    const token = bearer(server.token(poolId, 'block-1', 'read'));
    const said = await ask('POST', path, { ...token, 'content-length': 100_000_000 });
    expect([said.status, said.code]).to.deep.equal([413, 'body_too_large']);
    const request = httpsRequest({
      host: '127.0.0.1',
      port: server.port,
      method: 'POST',
      path,
      headers: token,
      rejectUnauthorized: false,
      agent: false,
    });
    const broken = once(request, 'error').catch(() => undefined);
    const answered = once(request, 'response');
    let sent = 0;
    const more = (): void => {
      while (sent < 64 << 20 && !request.destroyed) {
        sent += 1 << 16;
        if (!request.write(Buffer.alloc(1 << 16))) break;
      }
    };
    request.on('drain', more);
    more();
    await Promise.race([answered, broken]);
    request.destroy();
    expect(sent).to.be.lessThan(64 << 20);
    await stillServes();
  });

  it('a login of more than a few KiB, of whom nothing is known yet', async () => {
    const body = Buffer.from(JSON.stringify({ access_key: 'key-1', nonce: 'x'.repeat(1 << 20) }));
    const { status, code } = await ask('POST', '/v1/login', {}, body);
    expect([status, code]).to.deep.equal([413, 'body_too_large']);
  });

  it('a session of more chunks than a block may have, which would keep the server counting', async () => {
    const path = `/v1/pools/${poolId}/blocks/block-4/sessions`;
    const token = bearer(server.token(poolId, 'block-4', 'write'));
    for (const [size, chunk_size] of [
      [2 ** 46, 1],
      [2 ** 46 + 1, 1 << 20],
      [1, 0],
      [1, 2 ** 40],
    ]) {
      const body = Buffer.from(JSON.stringify({ size, chunk_size, job_id: 'job-4', attempt: 1, fence: 1 }));
      const { status, code } = await ask('POST', path, token, body);
      expect([status, code], `${size} in chunks of ${chunk_size}`).to.deep.equal([400, 'bad_request']);
    }
    await stillServes();
  });

  it('batches that are garbage, cut off, or lie about their lengths; and stores nothing of them', async () => {
    const path = `/v1/pools/${poolId}/blocks/block-3/sessions`;
    const token = bearer(server.token(poolId, 'block-3', 'write'));
    const body = { size: 65_536, chunk_size: 65_536, job_id: 'job-3', attempt: 1, fence: 1 };
    const { session } = JSON.parse((await ask('POST', path, token, Buffer.from(JSON.stringify(body)))).body) as {
      session: string;
    };
    const huge = Buffer.alloc(16);
    huge.writeUInt8(1, 0);
    huge.writeUInt32LE(0xffffffff, 4);
    const record = Buffer.alloc(16 + 64, 0x4f);
    record.fill(0, 0, 16);
    record.writeUInt8(1, 0);
    record.writeUInt32LE(64, 4);
    for (const bytes of [randomBytes(1000), huge, record, Buffer.alloc(5), Buffer.from('[]')]) {
      const { status, code } = await ask('POST', `${path}/${session}/chunks`, token, bytes);
      expect(status).to.be.oneOf([400, 422]);
      expect(code).to.be.oneOf(['bad_batch', 'damaged_chunk']);
    }
    const prepared = await ask('POST', `${path}/${session}/prepare`, token);
    expect(prepared.code).to.equal('incomplete_block');
    await ask('POST', `${path}/${session}/abort`, token);
    await ask('DELETE', `${path}/${session}`, token);
  });

  it('a client that does not speak TLS, and one that sends garbage', async () => {
    const plain = httpRequest({ host: '127.0.0.1', port: server.port, path: stat });
    plain.end();
    const refused = await new Promise<unknown>((resolve) => plain.on('error', resolve).on('response', resolve));
    expect(refused).to.be.instanceOf(Error);
    const socket = tlsConnect({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    socket.on('error', () => undefined);
    socket.resume();
    socket.end(randomBytes(5000));
    await once(socket, 'close');
    await stillServes();
  });

  it('half a head, half a body and half a piece of content, followed by silence', async () => {
    const write = server.token('content', 'block-5', 'write');
    const read = server.token(poolId, 'block-1', 'read');
    for (const text of [
      `GET ${stat} HTTP/1.1\r\nHost: x\r\nAuthor`,
      `POST ${stat}/chunks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${read}\r\nContent-Length: 500\r\n\r\n{"root`,
      `PUT /v1/content/block-5 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${write}\r\nContent-Length: 500\r\nContent-Range: bytes 0-499/500\r\n\r\nhello`,
    ]) {
      const socket = tlsConnect({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      socket.on('error', () => undefined);
      socket.resume();
      socket.write(text);
      await once(socket, 'close');
    }
    await waitFor('what came to count', async () => (await server.content.offset('block-5')) === 5);
    await stillServes();
  }).timeout(15_000);

  it('and the driver says what is wrong: fingerprint, authority, no HTTPS, nobody there', async () => {
    const wrong = await failure(opened({ tls_fingerprint: '0'.repeat(64) }, (pool) => pool.probe({ create: false }, signal)));
    expect([wrong.outcome, wrong.code]).to.deep.equal(['permanent', 'tls_fingerprint_mismatch']);
    const unknown = await failure(opened({ tls_fingerprint: null }, (pool) => pool.probe({ create: false }, signal)));
    expect([unknown.outcome, unknown.code]).to.deep.equal(['permanent', 'tls_untrusted']);
    expect(() => server.open(poolId, { https: false }))
      .to.throw()
      .with.property('code', 'https_required');
    const other = createServer((socket) =>
      socket
        .on('error', () => undefined)
        .resume()
        .end('SSH-2.0-OpenSSH_9.2\r\n'),
    ).listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const ssh = await failure(opened({ port }, (pool) => pool.probe({ create: false }, signal)));
    expect([ssh.outcome, ssh.code]).to.deep.equal(['permanent', 'not_a_pool_server']);
    other.close();
    await once(other, 'close');
    const away = await failure(opened({ port }, (pool) => pool.probe({ create: false }, signal)));
    expect([away.outcome, away.code]).to.deep.equal(['transient', 'unreachable']);
    expect(away.message).to.contain(`127.0.0.1:${port}`);
  }).timeout(20_000);

  it('nothing of the driver, which sends not a byte of a request to a server of another fingerprint', async () => {
    const { cert, key } = await loadCertificate(join(dir.path, 'other'), 'other');
    let received = 0;
    let connections = 0;
    const other = createTlsServer({ cert, key }, (socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (part) => {
        received += part.length;
      });
    });
    other.on('tlsClientError', () => undefined);
    other.on('connection', () => connections++);
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const error = await failure(opened({ port }, (pool) => pool.stat('block-1', signal)));
    expect(error.code).to.equal('tls_fingerprint_mismatch');
    other.close();
    await once(other, 'close');
    expect({ received, connections }).to.deep.equal({ received: 0, connections: 1 });
  });

  it('a token of an older key once: the driver says so to whoever keeps tokens, and asks anew', async () => {
    const older = signPoolToken(
      { pool: poolId, block: 'block-1', right: 'read', exp: Date.now() + 60_000 },
      generateKeyPairSync('ed25519').privateKey,
    );
    const dropped: string[] = [];
    let kept = older;
    const environment = {
      workers: server.workers,
      poolToken: async () => kept,
      dropPoolToken: (token: string) => {
        dropped.push(token);
        kept = server.token(poolId, 'block-1', 'read');
      },
    };
    const pool = openPool(server.spec(poolId), environment);
    expect((await pool.stat('block-1', signal))?.size).to.equal(BLOCK.size);
    expect(dropped).to.deep.equal([older]);
    await pool.close();
    const stubborn = openPool(server.spec(poolId), { ...environment, poolToken: async () => older });
    expect((await failure(stubborn.stat('block-1', signal))).code).to.equal('unauthorized');
    await stubborn.close();
  });

  it('nobody who was told to stop while a server that says nothing is being reached: that one stops at once', async () => {
    const mute = createServer((socket) => void socket.on('error', () => undefined).resume()).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = mute.address() as { port: number };
    const pool = server.open(poolId, { port });
    const stop = new AbortController();
    const asked = failure(pool.stat('block-1', stop.signal));
    await once(mute, 'connection');
    const begun = performance.now();
    stop.abort();
    expect((await asked).code).to.equal('cancelled');
    expect(performance.now() - begun).to.be.lessThan(1000);
    await pool.close();
    mute.close();
    await once(mute, 'close');
  });

  it('clients of another center whose key is wrong; others get in with theirs, and only where it says', async () => {
    const key = { type: 'access_key', access_key: 'key-1', secret_key: 'secret' } as const;
    await opened({ remote_pool: 'default', auth: key }, async (pool) => {
      await pool.probe({ create: true }, signal);
      const writer = await pool.openWriter({ blockId: 'block-9', ...BLOCK, jobId: 'job-9', attempt: 1, fence: 1 }, signal);
      await fill(writer, BLOCK);
      await writer.commit(signal);
      await writer.close();
      expect((await pool.stat('block-9', signal))?.rootDigest.equals(rootOf(BLOCK))).to.equal(true);
    });
    expect(logins).to.include('node-1/default block-9 write').and.to.include('node-1/default  manage');
    expect(logins.filter((login) => login.endsWith('block-9 write'))).to.have.length(1);
    const wrong = { ...key, secret_key: 'guess' };
    const error = await failure(opened({ remote_pool: 'default', auth: wrong }, (pool) => pool.probe({ create: false }, signal)));
    expect([error.outcome, error.code]).to.deep.equal(['permanent', 'unauthorized']);
    const none = await failure(opened({ remote_pool: 'nonsense', auth: key }, (pool) => pool.probe({ create: false }, signal)));
    expect(none.code).to.equal('pool_not_found');
  });
});
