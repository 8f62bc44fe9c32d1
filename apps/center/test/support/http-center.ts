/** The HTTP side on a real database; nodes are a stand-in that answers what a test tells it to. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newId, PermanentError, TransientError } from '@openservice/domain';
import { createLog } from '@openservice/runtime';
import type { DataSource } from '@openservice/store';
import { EventTail } from '../../src/events/tail.ts';
import { type CenterApp, makeApp } from '../../src/http/app.ts';
import { ensureAdminToken, hashToken } from '../../src/http/auth.ts';
import type { AppDeps } from '../../src/http/deps.ts';
import { createSecrets } from '../../src/secrets.ts';
import type { Role } from '../../src/services/caller.ts';
import { type OwnDatabase, ownDatabase } from './database.ts';

export const BASE = '/openstore_v1';

const silent = createLog({ name: 'test', level: 'silent' });

type Method = keyof StandInNodes['answers'];

/** Stands in for nodes at the other end of NATS. */
export class StandInNodes {
  readonly calls: { nodeId: string; method: string; request: unknown }[] = [];
  readonly answers = {
    pool_probe: (): unknown => ({ capacity_bytes: 1_000_000_000, fencing: 'strict' }),
    source_probe: (): unknown => ({ size: 10_000_000, format: 'raw', etag: null, last_modified: null }),
    target_probe: (): unknown => ({}),
    pool_blocks: (): unknown => ({ blocks: [], more: false }),
    content_drop: (): unknown => ({}),
    instance_stat: (): unknown => {
      throw new TransientError('node_unavailable', 'The node does not answer.');
    },
    have: (): unknown => ({}),
  };

  refuse(method: Method, code: string, message = 'The node says no.'): void {
    this.answers[method] = () => {
      throw new PermanentError(code, message);
    };
  }

  away(method: Method): void {
    this.answers[method] = () => {
      throw new TransientError('node_unavailable', 'The node does not answer.');
    };
  }

  call = async (nodeId: string, method: Method, request: unknown): Promise<never> => {
    this.calls.push({ nodeId, method, request });
    return (await this.answers[method]()) as never;
  };
}

export interface Reply {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  body: any;
  text: string;
}

export interface HttpCenter {
  app: CenterApp;
  database: DataSource;
  url: string;
  nodes: StandInNodes;
  /** Not started: a test that follows events starts it. */
  events: EventTail;
  deps: AppDeps;
  token: string;
  pokes(): number;
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply>;
  tokenFor(role: Role): Promise<string>;
  addNode(id: string, state?: string): Promise<void>;
  /** A local or s3 pool made over the API. */
  pool(type: 'local' | 's3', node?: string): Promise<string>;
  /** An available block, as after its import, with a counted replica in each pool. */
  block(poolIds: string[], setId?: string): Promise<string>;
  stop(): Promise<void>;
}

/** Null where there is no server to test against. */
export async function httpCenter(options: { redisUrl?: string } = {}): Promise<HttpCenter | null> {
  const own = await ownDatabase();
  if (own === null) return null;
  return build(own, options.redisUrl ?? 'redis://127.0.0.1:1');
}

async function build(own: OwnDatabase, redisUrl: string): Promise<HttpCenter> {
  const { database } = own;
  const dataDir = await mkdtemp(join(tmpdir(), 'openservice-http-'));
  const nodes = new StandInNodes();
  let pokes = 0;
  const events = new EventTail({ database, log: silent });
  const deps: AppDeps = {
    database,
    relay: {
      poke: () => {
        pokes++;
      },
    },
    nodes: nodes as unknown as AppDeps['nodes'],
    events,
    secrets: createSecrets(randomBytes(32)),
    redisUrl,
    ready: () => ({ mysql: true, nats: true, redis: false }),
    log: silent,
    trashMs: 24 * 3600_000,
    contentMs: 24 * 3600_000,
    dataDir,
    version: '0.0.0-test',
  };
  const token = await ensureAdminToken(database, dataDir);
  const app = makeApp(deps);

  const send: HttpCenter['send'] = async (method, path, body, headers = {}) => {
    const all: Record<string, string> = { Authorization: `Bearer ${token}`, ...headers };
    const init: RequestInit = { method, headers: all };
    if (body !== undefined) {
      all['Content-Type'] ??= 'application/json';
      init.body = typeof body === 'string' ? body : JSON.stringify(body);
    }
    const answer = await app.request(path.startsWith('/') ? path : `${BASE}/${path}`, init);
    const text = await answer.text();
    const json = text !== '' && /json/.test(answer.headers.get('Content-Type') ?? '');
    return { status: answer.status, headers: answer.headers, body: json ? JSON.parse(text) : null, text };
  };

  let made = 0;
  const center: HttpCenter = {
    app,
    database,
    url: own.url,
    nodes,
    events,
    deps,
    token,
    pokes: () => pokes,
    send,
    async tokenFor(role) {
      const made = `t_${randomBytes(16).toString('hex')}`;
      await database.query('INSERT INTO tokens VALUES (?, ?, ?, ?, UTC_TIMESTAMP(3))', [
        newId('req'),
        role,
        role,
        hashToken(made),
      ]);
      return made;
    },
    async addNode(id, state = 'online') {
      await database.query(
        `INSERT INTO nodes (id, name, state, epoch, version, kinds, import_roots, last_seen_at, created_at)
         VALUES (?, ?, ?, 1, '1', '["import"]', '["/in"]', UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))`,
        [id, id, state],
      );
    },
    async pool(type, node = 'n1') {
      made++;
      const local = { type, name: `local ${made}`, node_id: node, path: `/pools/${made}` };
      const answer = await send('PUT', 'pools', type === 'local' ? local : s3Body({ name: `s3 ${made}`, prefix: `p${made}` }));
      if (answer.status !== 201) throw new Error(answer.text);
      return answer.body['pool-id'] as string;
    },
    async block(poolIds, setId) {
      const id = newId('block');
      await database.query(
        `INSERT INTO blocks (id, name, set_id, size, chunk_size, state, root_digest, created_at)
         VALUES (?, ?, ?, 10000000, 1048576, 'available', ?, UTC_TIMESTAMP(3))`,
        [id, `disk ${id}`, setId ?? null, 'ab'.repeat(32)],
      );
      if (setId !== undefined) await database.query('UPDATE sets SET block_count = block_count + 1 WHERE id = ?', [setId]);
      for (const poolId of poolIds) {
        await database.query(
          "INSERT INTO replicas (block_id, pool_id, state, stored_bytes, created_at) VALUES (?, ?, 'available', 5000, UTC_TIMESTAMP(3))",
          [id, poolId],
        );
      }
      return id;
    },
    async stop() {
      await events.stop();
      await app.close();
      await own.drop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
  return center;
}

export function s3Body(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    type: 's3',
    name: 'cloud',
    s3_scheme: 'other',
    endpoint: 'http://127.0.0.1:7480',
    bucket: 's3_storage',
    access_key: 'PF47C3UA95UUGTTA88FM',
    secret_key: 'fPzXzJwGc2y1VzWZ025',
    ...changes,
  };
}
