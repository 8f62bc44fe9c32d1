/** A NATS server of a test file's own: its streams have fixed names. Redis is the test set-up's, kept apart by node ids. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const REDIS_URL = process.env.OPENSERVICE_TEST_REDIS_URL;

/** Skips the suite, saying why, where the servers are not there. */
export function needsServers(context: Mocha.Context): void {
  if (REDIS_URL !== undefined && process.env.OPENSERVICE_TEST_NATS_URL !== undefined) return;
  console.log('      skipped: OPENSERVICE_TEST_REDIS_URL and OPENSERVICE_TEST_NATS_URL are not set (npm test sets them)');
  context.skip();
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

export class RedisServer {
  readonly port: number;
  #child: ChildProcess | undefined;

  private constructor(port: number) {
    this.port = port;
  }

  static async start(): Promise<RedisServer> {
    const server = new RedisServer(await freePort());
    await server.up();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Comes up empty. */
  async up(): Promise<void> {
    const binary = process.env.OPENSERVICE_TEST_REDIS_SERVER ?? 'redis-server';
    const args = ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
    const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#child = child;
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', () => reject(new Error('redis-server ended')));
      child.stdout?.on('data', (bytes: Buffer) => bytes.includes('Ready to accept connections') && resolve());
    });
  }

  async down(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    child.removeAllListeners('exit');
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
}

export class NatsServer {
  readonly port: number;
  readonly #dir: string;
  #child: ChildProcess | undefined;

  private constructor(port: number, dir: string) {
    this.port = port;
    this.#dir = dir;
  }

  static async start(): Promise<NatsServer> {
    const server = new NatsServer(await freePort(), await mkdtemp(join(tmpdir(), 'os-nats-')));
    await server.up();
    return server;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  async up(): Promise<void> {
    const binary = process.env.OPENSERVICE_TEST_NATS_SERVER ?? 'nats-server';
    const child = spawn(binary, ['-js', '-a', '127.0.0.1', '-p', String(this.port), '-sd', this.#dir], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    await new Promise<void>((resolve, reject) => {
      let text = '';
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`nats-server ended: ${text}`)));
      child.stderr?.on('data', (bytes: Buffer) => {
        text += bytes.toString();
        if (text.includes('Server is ready')) resolve();
      });
    });
  }

  async down(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    child.removeAllListeners('exit');
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async stop(): Promise<void> {
    await this.down();
    await rm(this.#dir, { recursive: true, force: true });
  }
}
