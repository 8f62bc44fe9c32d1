import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectNbd, type NbdClient, type NbdExtent } from '@openservice/nbd';
import { type NbdServer, nbdkit, nbdkitOnPort, needsPeers, qemuNbd, startProxy, waitFor } from '@openservice/testkit';
import { expect } from 'chai';

const MIB = 1024 * 1024;
const never = new AbortController().signal;

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => expect.fail('it did not fail'),
    (error: Error) => error,
  );
}

describe('the NBD client', () => {
  let dir: string;
  let socket: string;
  const servers: NbdServer[] = [];
  const clients: NbdClient[] = [];

  before(needsPeers('qemu-nbd', 'qemu-img', 'nbdkit', 'openssl'));
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'nbd-'));
    socket = join(dir, 's');
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.close();
    for (const server of servers.splice(0)) await server.stop();
    await rm(dir, { recursive: true });
  });

  async function opened(server: Promise<NbdServer>, options: Parameters<typeof connectNbd>[1] = { signal: never }) {
    const started = await server;
    servers.push(started);
    const client = await connectNbd(started.uri, options);
    clients.push(client);
    return client;
  }
  async function image(size: number, ...pieces: [offset: number, bytes: Buffer][]) {
    const path = join(dir, 'disk.img');
    const handle = await open(path, 'w');
    await handle.truncate(size);
    for (const [offset, bytes] of pieces) await handle.write(bytes, 0, bytes.length, offset);
    await handle.close();
    return path;
  }
  async function extentsOf(client: NbdClient, from = 0): Promise<NbdExtent[]> {
    const all: NbdExtent[] = [];
    for await (const extent of client.extents(from, never)) all.push(extent);
    return all;
  }

  for (const [name, start] of [
    ['nbdkit', (path: string) => nbdkit(socket, ['file', path])],
    ['qemu-nbd', (path: string) => qemuNbd(socket, ['-f', 'raw', path], 'the disk')],
  ] as const) {
    it(`reads, writes, zeroes, flushes and finds holes on ${name}`, async () => {
      const data = randomBytes(2 * MIB);
      const path = await image(64 * MIB, [8 * MIB, data], [40 * MIB, data.subarray(0, MIB)]);
      const client = await opened(start(path));
      expect(client.disk).to.include({ size: 64 * MIB, readOnly: false, tellsHoles: true, canFlush: true });
      expect(await extentsOf(client)).to.deep.equal([
        { offset: 8 * MIB, length: 2 * MIB },
        { offset: 40 * MIB, length: MIB },
      ]);
      expect(await extentsOf(client, 9 * MIB)).to.deep.equal([
        { offset: 9 * MIB, length: MIB },
        { offset: 40 * MIB, length: MIB },
      ]);
      const back = Buffer.alloc(3 * MIB + 77, 1);
      await client.read(8 * MIB - 33, back, never);
      expect(back.equals(Buffer.concat([Buffer.alloc(33), data, Buffer.alloc(MIB + 44)]))).to.equal(true);
      await client.write(50 * MIB + 5, data.subarray(0, 70_001), never);
      await client.writeZeroes(8 * MIB, 2 * MIB - 100, never);
      await client.trim(60 * MIB, MIB, never);
      await client.flush(never);
      const whole = await readFile(path);
      expect(whole.subarray(50 * MIB + 5, 50 * MIB + 70_006).equals(data.subarray(0, 70_001))).to.equal(true);
      expect(whole.subarray(8 * MIB, 10 * MIB - 100).every((byte) => byte === 0)).to.equal(true);
      expect(whole.subarray(10 * MIB - 100, 10 * MIB).equals(data.subarray(-100))).to.equal(true);
    });
  }

  it('has many requests under way at once, and each gets its own bytes', async () => {
    const data = randomBytes(8 * MIB);
    const path = await image(8 * MIB, [0, data]);
    const client = await opened(nbdkit(socket, ['--filter=delay', 'file', path, 'delay-read=20ms']));
    const begun = performance.now();
    const parts = await Promise.all(
      Array.from({ length: 64 }, async (_, i) => {
        const target = Buffer.alloc(128 * 1024);
        await client.read(i * target.length, target, never);
        return target;
      }),
    );
    expect(Buffer.concat(parts).equals(data)).to.equal(true);
    // One after the other they would take 64 × 20 ms.
    expect(performance.now() - begun).to.be.below(900);
  });

  it('keeps to a server that takes whole blocks only, up to a size', async () => {
    const data = randomBytes(MIB);
    const path = await image(MIB, [0, data]);
    const policy = [
      'blocksize-minimum=4096',
      'blocksize-preferred=65536',
      'blocksize-maximum=131072',
      'blocksize-error-policy=error',
    ];
    const client = await opened(nbdkit(socket, ['--filter=blocksize-policy', 'file', path, ...policy]));
    expect(client.disk).to.include({ minBlock: 4096, preferredBlock: 65_536, maxBlock: 131_072 });
    const target = Buffer.alloc(700_001);
    await client.read(1111, target, never);
    expect(target.equals(data.subarray(1111, 701_112))).to.equal(true);
    await client.write(5000, Buffer.alloc(300_000, 7), never);
    await client.writeZeroes(400_001, 10_000, never);
    await client.flush(never);
    const expected = Buffer.from(data).fill(7, 5000, 305_000).fill(0, 400_001, 410_001);
    expect((await readFile(path)).equals(expected)).to.equal(true);
  });

  it('does without structured replies, holes and WRITE_ZEROES', async () => {
    const path = await image(3 * MIB, [0, randomBytes(3 * MIB)]);
    const client = await opened(nbdkit(socket, ['--no-sr', '--filter=nozero', 'file', path, 'zeromode=none']));
    expect(client.disk).to.include({ tellsHoles: false, canWriteZeroes: false });
    expect(await extentsOf(client)).to.deep.equal([{ offset: 0, length: 3 * MIB }]);
    await client.writeZeroes(100, 2 * MIB, never);
    const target = Buffer.alloc(3 * MIB);
    await client.read(0, target, never);
    expect(target.equals(await readFile(path))).to.equal(true);
    expect(target.subarray(100, 100 + 2 * MIB).every((byte) => byte === 0)).to.equal(true);
  });

  it('falls back to EXPORT_NAME where a server knows no GO', async () => {
    const path = await image(MIB, [0, randomBytes(MIB)]);
    const client = await opened(nbdkit(socket, ['--mask-handshake=1', '--no-sr', 'file', path]));
    const target = Buffer.alloc(MIB);
    await client.read(0, target, never);
    expect(target.equals(await readFile(path))).to.equal(true);
  });

  it('refuses what the server refuses, in one sentence', async () => {
    const path = await image(MIB);
    const client = await opened(qemuNbd(socket, ['-r', '-f', 'raw', path], 'disk'));
    expect(client.disk.readOnly).to.equal(true);
    expect(await failure(client.write(0, Buffer.alloc(512), never))).to.include({ code: 'read_only' });
    expect(await failure(client.read(MIB - 1, Buffer.alloc(2), never))).to.include({ code: 'out_of_range' });
    const other = connectNbd(`nbd+unix:///another?socket=${socket}`, { signal: never });
    expect(await failure(other)).to.include({ code: 'nbd_export_not_found' });
    const away = await failure(connectNbd('nbd://127.0.0.1:1/', { signal: never }));
    expect(away).to.include({ code: 'unreachable', outcome: 'transient' });
    expect(await failure(connectNbd(`nbd+unix:///?socket=${dir}/no`, { signal: never }))).to.include({ code: 'nbd_refused' });
  });

  it('passes on an I/O error of one read, and goes on', async () => {
    const path = await image(MIB, [0, randomBytes(MIB)]);
    const trigger = join(dir, 'trigger');
    const client = await opened(
      nbdkit(socket, ['--filter=error', 'file', path, 'error-pread=EIO', 'error-pread-rate=100%', `error-file=${trigger}`]),
    );
    await writeFile(trigger, '');
    expect(await failure(client.read(0, Buffer.alloc(4096), never))).to.include({ code: 'nbd_io_error', outcome: 'permanent' });
    await rm(trigger);
    await client.read(0, Buffer.alloc(4096), never);
  });

  it('fails every call when the server dies, and when it falls silent', async () => {
    const path = await image(MIB, [0, randomBytes(MIB)]);
    const server = await nbdkitOnPort(['--filter=delay', 'file', path, 'delay-read=5']);
    servers.push(server);
    const proxy = await startProxy(server.uri.replace('nbd:', 'http:'));
    const uri = `nbd://127.0.0.1:${proxy.port}/`;
    try {
      const client = await connectNbd(uri, { signal: never });
      clients.push(client);
      const reading = failure(client.read(0, Buffer.alloc(4096), never));
      await waitFor('the request to pass', () => proxy.bytes.toTarget > 0);
      proxy.cut();
      expect(await reading).to.include({ code: 'unreachable', outcome: 'transient' });
      expect(await failure(client.flush(never))).to.include({ code: 'unreachable' });
      const silent = await connectNbd(uri, { signal: never, answerLimit: 200 });
      clients.push(silent);
      proxy.drop(true);
      expect(await failure(silent.read(0, Buffer.alloc(4096), never))).to.include({ code: 'nbd_timeout', outcome: 'transient' });
      expect(await failure(connectNbd(uri, { signal: never, connectLimit: 200 }))).to.include({ code: 'nbd_timeout' });
    } finally {
      await proxy.close();
    }
  });

  it('lets go of a read that is aborted, and writes no more into its buffer', async () => {
    const path = await image(MIB, [0, Buffer.alloc(MIB, 9)]);
    const client = await opened(nbdkit(socket, ['--filter=delay', 'file', path, 'delay-read=200ms']));
    const stop = new AbortController();
    const target = Buffer.alloc(MIB);
    const reading = failure(client.read(0, target, stop.signal));
    // By then the request has been sent.
    await new Promise(setImmediate);
    stop.abort();
    expect(await reading).to.include({ code: 'cancelled' });
    // Another read is answered after the first one's bytes have come.
    await client.read(0, Buffer.alloc(512), never);
    expect(target.every((byte) => byte === 0)).to.equal(true);
  });

  it('speaks TLS where the URI asks for it, with a certificate that it trusts and no other', async () => {
    const config = ['-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', join(dir, 'server-key.pem')];
    const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    execFileSync('openssl', ['req', '-x509', ...config, ...names, '-out', join(dir, 'server-cert.pem')], { stdio: 'ignore' });
    const ca = await readFile(join(dir, 'server-cert.pem'), 'utf8');
    await writeFile(join(dir, 'ca-cert.pem'), ca);
    const path = await image(MIB, [0, randomBytes(MIB)]);
    const server = await nbdkitOnPort(['--tls=require', `--tls-certificates=${dir}`, 'file', path], 'nbds', 'localhost');
    servers.push(server);
    const client = await connectNbd(server.uri, { signal: never, ca: [ca] });
    clients.push(client);
    const target = Buffer.alloc(MIB);
    await client.read(0, target, never);
    expect(target.equals(await readFile(path))).to.equal(true);
    expect(await failure(connectNbd(server.uri, { signal: never }))).to.include({ code: 'nbd_tls_failed' });
    const named = server.uri.replace('localhost', '127.0.0.1');
    expect((await failure(connectNbd(named, { signal: never, ca: [ca] }))).message).to.contain('127.0.0.1');
    expect(await failure(connectNbd(named, { signal: never, ca: [ca] }))).to.include({ code: 'nbd_tls_failed' });
    const plain = await failure(connectNbd(server.uri.replace('nbds:', 'nbd:'), { signal: never }));
    expect(plain).to.include({ code: 'nbd_refused' });
    expect(plain.message).to.contain('nbds://');
  });
});
