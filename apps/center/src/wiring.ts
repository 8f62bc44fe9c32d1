/**
 * Puts the center together. HTTP is up first and answers 503 for what is away; the rest follows as MySQL and NATS appear, in
 * whatever order, and lives through their losses.
 */

import { TransientError } from '@openservice/domain';
import { Backoff, callNode, closeNats, connectNats, type Logger, type Part } from '@openservice/runtime';
import { createDatabase, type DataSource, migrate } from '@openservice/store';
import type { NatsConnection } from 'nats';
import { AnomalyLook } from './anomalies/look.ts';
import type { CenterConfig } from './config.ts';
import { EventRetention } from './events/retention.ts';
import { raisePositions } from './events/sequence.ts';
import { EventTail } from './events/tail.ts';
import type { NodeCalls } from './http/deps.ts';
import { Ingest } from './ingest/ingest.ts';
import { ProgressSink } from './ingest/progress.ts';
import { raiseFences } from './jobs/fence-floor.ts';
import type { Times } from './plane.ts';
import { Readiness } from './readiness.ts';
import { Reconcile } from './reconcile/reconcile.ts';
import { Link } from './relay/link.ts';
import { Relay } from './relay/relay.ts';
import { StreamHealth } from './relay/stream-health.ts';
import { ensureAll } from './relay/streams.ts';
import { centerService } from './rpc/serve.ts';
import type { Secrets } from './secrets.ts';
import { Courier } from './webhooks/courier.ts';

const HOUR_MS = 3_600_000;
/** Events that are kept, however young: about a GiB. */
const MOST_EVENTS = 2_000_000;

export interface Center {
  readonly database: DataSource;
  readonly relay: { poke(): void };
  readonly nodes: NodeCalls;
  readonly events: EventTail;
  readonly readiness: Readiness;
  /** In the order of their start; HTTP is to come before them. */
  readonly parts: Part[];
}

export interface CenterOptions {
  config: Pick<
    CenterConfig,
    'OPENSERVICE_MYSQL_URL' | 'OPENSERVICE_REDIS_URL' | 'OPENSERVICE_NATS_URL' | 'OPENSERVICE_EVENT_HOURS'
  >;
  /** How long a deleted block stays in the trash. */
  trashMs: number;
  times: Times;
  secrets: Secrets;
  version: string;
  log: Logger;
  /** After the migrations and before the first job: e.g. the first token. May be repeated. */
  onDatabase?: (database: DataSource) => Promise<void>;
}

export function wireCenter({ config, trashMs, times, secrets, version, log, onDatabase }: CenterOptions): Center {
  const database = createDatabase(config.OPENSERVICE_MYSQL_URL);
  let nc: NatsConnection | null = null;
  let link: Link | null = null;
  let relay: Relay | null = null;
  const events = new EventTail({ database, log });
  const poke = (): void => {
    relay?.poke();
    events.poke();
  };
  const readiness = new Readiness(database, config.OPENSERVICE_REDIS_URL, () => link?.isUp ?? false);

  const nodes: NodeCalls = {
    call: async (nodeId, method, request, options) => {
      if (nc === null || link?.isUp !== true) {
        throw new TransientError('node_unavailable', `Node ${nodeId} cannot be asked: NATS is away.`);
      }
      return callNode(nc, nodeId, method, request, options);
    },
  };

  const openDatabase = async (signal: AbortSignal): Promise<void> => {
    await untilDone('MySQL', signal, log, async () => {
      if (!database.isInitialized) await database.initialize();
      await migrate(database);
      await raiseFences(database);
      await raisePositions(database);
      await onDatabase?.(database);
    });
    readiness.databaseOpened();
    await events.start();
    log.info('The database is there and its schema is up to date.');
  };

  const openNats = async (signal: AbortSignal): Promise<NatsConnection> => {
    nc = await connectNats({ url: config.OPENSERVICE_NATS_URL, name: 'openservice-center', log, signal });
    link = new Link(nc, () => log.debug('NATS is back.'));
    events.follow(nc);
    return nc;
  };

  const controlPlane: Part = {
    name: 'control-plane',
    async start(signal) {
      // Not awaited: the process is up, and ready when this is done.
      this.stop = startInBackground(signal, log, async (inner) => {
        const [connection] = await Promise.all([openNats(inner), openDatabase(inner)]);
        const plane = { database, nc: connection, log, times };
        await untilDone('JetStream', inner, log, () => ensureAll(connection, database));
        relay = new Relay(plane);
        return [
          relay,
          new Ingest(plane, { poke, roomMade: () => relay?.roomMade() }),
          new ProgressSink(plane),
          centerService(plane, { secrets, version, trashMs, poke }),
          new Reconcile(plane, { poke, nodes, isUp: () => link?.isUp ?? false }),
          new StreamHealth(plane, poke),
          new AnomalyLook({ database, nodes, log }),
          new Courier({ database, secrets, tail: events, log }),
          new EventRetention(plane, { keepMs: config.OPENSERVICE_EVENT_HOURS * HOUR_MS, most: MOST_EVENTS }),
        ];
      });
    },
    stop: async () => undefined,
  };

  // Started with the database; streams end before HTTP stops, and go on without NATS.
  const stream: Part = { name: events.name, start: async () => undefined, stop: () => events.stop() };

  const connections: Part = {
    name: 'connections',
    start: () => database.describe(),
    async stop() {
      if (nc !== null) await closeNats(nc);
      if (database.isInitialized) await database.destroy();
    },
  };

  return {
    database,
    relay: { poke },
    nodes,
    events,
    readiness,
    parts: [connections, readiness, stream, controlPlane],
  };
}

/** Starts what `open` makes once it can; the answer stops it again, at whatever point it is. */
function startInBackground(outer: AbortSignal, log: Logger, open: (signal: AbortSignal) => Promise<Part[]>): () => Promise<void> {
  const own = new AbortController();
  const signal = AbortSignal.any([outer, own.signal]);
  const started: Part[] = [];
  const work = (async () => {
    for (const part of await open(signal)) {
      signal.throwIfAborted();
      started.push(part);
      await part.start(signal);
    }
    log.info('The center is ready.');
  })().catch((error: unknown) => {
    if (signal.aborted) return;
    // Nothing here is expected to fail for good; to be started again is the safe answer.
    queueMicrotask(() => {
      throw error;
    });
  });
  return async () => {
    own.abort(new Error('The center stops.'));
    await work;
    for (const part of started.splice(0).reverse()) await part.stop();
  };
}

async function untilDone(what: string, signal: AbortSignal, log: Logger, work: () => Promise<void>): Promise<void> {
  const backoff = new Backoff({ minMs: 100, maxMs: 2_000 });
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted();
    try {
      await work();
      return;
    } catch (error) {
      signal.throwIfAborted();
      const why = error instanceof Error ? error.message : String(error);
      if (tries === 1 || tries % 20 === 0) log.warn({ what, tries, why }, `${what} is not usable yet; trying on.`);
      await backoff.wait(signal);
    }
  }
}
