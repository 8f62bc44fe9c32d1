/** TLS with clients that others wrote: asked for, required, refused. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectNbd, MemoryDevice, type NbdServerOptions } from '@openservice/nbd';
import { needsPeers, waitFor } from '@openservice/testkit';
import { expect } from 'chai';
import { makeCertificate } from './support/certificate.ts';
import { run, type Served, serve } from './support/serve.ts';

const MIB = 1024 * 1024;
const SIZE = 5 * MIB + 3;

describe('NBD server and TLS', function () {
  this.timeout(60_000);
  let dir: string;
  let made: ReturnType<typeof makeCertificate>;
  let device: MemoryDevice;
  let served: Served | null = null;

  before(needsPeers('openssl', 'nbdinfo', 'nbdcopy'));
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'openservice-nbd-tls-'));
    made = makeCertificate(dir);
  });
  after(() => rm(dir, { recursive: true, force: true }));
  beforeEach(() => {
    device = new MemoryDevice(SIZE);
    randomBytes(SIZE).copy(device.bytes);
  });
  afterEach(() => served?.stop());

  async function start(mode: NonNullable<NbdServerOptions['tls']>['mode'], limits = {}): Promise<string> {
    served = await serve(device, { tcp: { host: '127.0.0.1', port: 0 }, tls: { mode, key: made.key, cert: made.cert }, limits });
    return `localhost:${served.server.port}`;
  }

  /** What a program says as it fails. */
  async function failed(command: string, ...args: string[]): Promise<string> {
    const error = await run(command, ...args).then(
      () => null,
      (reason: Error & { stderr: string }) => reason,
    );
    expect(error, `${command} ${args.join(' ')} was to fail`).not.to.equal(null);
    return error!.stderr;
  }

  const query = (): string => `?tls-certificates=${made.clientDir}`;

  it('optional: nbdinfo and nbdcopy under TLS, and in the clear', async () => {
    const at = await start('optional');
    for (const uri of [`nbds://${at}/disk${query()}`, `nbd://${at}/disk`]) {
      const info = JSON.parse(await run('nbdinfo', '--json', uri));
      expect(info.TLS).to.equal(uri.startsWith('nbds'));
      expect(info.exports[0]['export-size']).to.equal(SIZE);
      const file = join(dir, 'copy.img');
      await run('nbdcopy', uri, file);
      expect((await readFile(file)).equals(device.bytes)).to.equal(true);
    }
    const other = randomBytes(SIZE);
    const client = await connectNbd(`nbds://${at}/disk`, { signal: AbortSignal.timeout(20_000), ca: [made.cert] });
    await client.write(0, other, AbortSignal.timeout(20_000));
    await client.close();
    expect(device.bytes.equals(other)).to.equal(true);
  });

  it('required: nothing is told in the clear, but over the Unix socket', async () => {
    const at = await start('required');
    // TLS_REQD is "not supported" to libnbd.
    expect(await failed('nbdinfo', `nbd://${at}/disk`)).to.include('Operation not supported');
    expect(await failed('nbdinfo', '--list', `nbd://${at}`)).to.include('Operation not supported');
    const plain = await connectNbd(`nbd://${at}/disk`, { signal: AbortSignal.timeout(20_000) }).catch((error: Error) => error);
    expect(plain).to.include({ code: 'nbd_refused' }).with.property('message').that.includes('nbds://');
    await run('nbdinfo', `nbds://${at}/disk${query()}`);
    const list = JSON.parse(await run('nbdinfo', '--json', '--list', `nbds://${at}/${query()}`));
    expect(list.exports[0]['export-name']).to.equal('disk');
    await run('nbdinfo', served!.uri);
  });

  it('off: who asks for TLS is told that there is none', async () => {
    served = await serve(device, { tcp: { host: '127.0.0.1', port: 0 } });
    const at = `localhost:${served.server.port}`;
    expect(await failed('nbdinfo', `nbds://${at}/disk${query()}`)).not.to.equal('');
    const client = await connectNbd(`nbds://${at}/disk`, { signal: AbortSignal.timeout(20_000) }).catch((error: Error) => error);
    expect(client).to.include({ code: 'nbd_refused' }).with.property('message').that.includes('no certificate');
    await run('nbdinfo', `nbd://${at}/disk`);
  });

  it('a client that breaks the TLS handshake off, or says what is no TLS, is let go', async () => {
    const at = await start('required', { handshake: 500 });
    const options = Buffer.from('0000000349484156454f50540000000500000000', 'hex');
    for (const after of [Buffer.alloc(0), Buffer.from('this is no TLS, is it?'), Buffer.from([22, 3, 1, 0, 200, 1])]) {
      const socket = connect(Number(at.split(':')[1]), '127.0.0.1');
      const gone = new Promise<void>((resolve) => socket.on('close', () => resolve()));
      socket.on('error', () => undefined);
      let got = 0;
      socket.on('data', (bytes) => {
        got += bytes.length;
        // The greeting and ACK.
        if (got === 38 && after.length > 0) socket.write(after);
      });
      socket.write(options);
      await gone;
    }
    await run('nbdinfo', `nbds://${at}/disk${query()}`);
  });

  it('bytes in the clear that come right behind STARTTLS are not taken for what comes under TLS', async () => {
    const at = await start('optional');
    const socket = connect(Number(at.split(':')[1]), '127.0.0.1');
    const gone = new Promise<void>((resolve) => socket.on('close', () => resolve()));
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(Buffer.from('0000000349484156454f5054000000050000000049484156454f50540000000300000000', 'hex'));
    await gone;
    await waitFor('the connection to be gone', () => served!.server.connections === 0);
  });
});
