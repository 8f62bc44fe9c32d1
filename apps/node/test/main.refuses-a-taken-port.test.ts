import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const { OPENSERVICE_TEST_NATS_URL: NATS, OPENSERVICE_TEST_REDIS_URL: REDIS } = process.env;
const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));

async function listening(): Promise<{ server: Server; port: number }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as { port: number }).port };
}

describe('the process of a node', function () {
  this.timeout(20_000);
  let dir: string;
  let child: ChildProcess | undefined;
  before(function () {
    if (NATS !== undefined && REDIS !== undefined) return;
    console.log('      skipped: OPENSERVICE_TEST_NATS_URL and OPENSERVICE_TEST_REDIS_URL are not set (npm test sets them)');
    this.skip();
  });
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'os-main-'));
  });
  afterEach(async () => {
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    await rm(dir, { recursive: true, force: true });
  });

  function start(port: number): { said: (text: string) => Promise<void>; ended: Promise<unknown>; output: () => string } {
    let output = '';
    const env = {
      ...process.env,
      OPENSERVICE_NODE_ID: `main-${port}`,
      OPENSERVICE_DATA_DIR: dir,
      OPENSERVICE_NATS_URL: NATS,
      OPENSERVICE_REDIS_URL: REDIS,
      OPENSERVICE_POOL_HOST: '127.0.0.1',
      OPENSERVICE_POOL_PORT: String(port),
      OPENSERVICE_NBD_PORT: '0',
    };
    const made = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    child = made;
    const take = (bytes: Buffer): void => {
      output += bytes.toString();
    };
    made.stdout.on('data', take);
    made.stderr.on('data', take);
    const ended = once(made, 'close').then(([code]) => code);
    const said = async (text: string): Promise<void> => {
      while (!output.includes(text)) {
        const more = once(made.stdout, 'data');
        if ((await Promise.race([more, ended.then(() => 'ended')])) === 'ended') throw new Error(`it ended: ${output}`);
      }
    };
    return { said, ended, output: () => output };
  }

  it('ends, and says which variable to set, when the port of its pool server is taken', async () => {
    const { server, port } = await listening();
    try {
      const node = start(port);
      expect(await node.ended).to.equal(1);
      expect(node.output()).to.contain(`Port ${port} of 127.0.0.1 is in use`).and.to.contain('OPENSERVICE_POOL_PORT');
    } finally {
      server.close();
    }
  });

  it('listens, and stops in good order', async () => {
    const { server, port } = await listening();
    server.close();
    await once(server, 'close');
    const node = start(port);
    await node.said(`https://127.0.0.1:${port}`);
    await node.said('No center takes this node');
    child?.kill('SIGTERM');
    expect(await node.ended, node.output()).to.equal(0);
    expect(node.output()).not.to.contain('did not stop').and.not.to.contain('failed to stop');
    for (const part of ['run', 'tls/cert.pem', 'exports/default']) await access(join(dir, part));
  });
});
