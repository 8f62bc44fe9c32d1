/**
 * JetStream's streams and durables. A center makes what is missing: at start, at a reconnect, at a node's sync, and when a
 * publish or a pull finds it gone. Nothing depends on them to remember: MySQL and the nodes' journals do.
 */
import { CMD_STREAM, CMD_SUBJECTS, cmdDurable, cmdFilter, EVT_DURABLE, EVT_STREAM, EVT_SUBJECTS } from '@openservice/protocol';
import type { DataSource } from '@openservice/store';
import {
  AckPolicy,
  type ConsumerConfig,
  DeliverPolicy,
  type JetStreamManager,
  type NatsConnection,
  NatsError,
  nanos,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from 'nats';

const HOUR = 3_600_000;
const ACK_WAIT_MS = 30_000;

const STREAMS: Partial<StreamConfig>[] = [
  // A command that nobody takes is sent again anyway, so an old copy is of no use.
  { name: CMD_STREAM, subjects: [CMD_SUBJECTS], max_age: nanos(HOUR) },
  { name: EVT_STREAM, subjects: [EVT_SUBJECTS], max_age: nanos(7 * 24 * HOUR) },
];

const CONSUMER: Partial<ConsumerConfig> = {
  ack_policy: AckPolicy.Explicit,
  deliver_policy: DeliverPolicy.All,
  ack_wait: nanos(ACK_WAIT_MS),
  max_deliver: -1,
  max_ack_pending: 1000,
};

function isMissing(error: unknown): boolean {
  return error instanceof NatsError && error.api_error?.code === 404;
}

async function ensureConsumer(jsm: JetStreamManager, stream: string, config: Partial<ConsumerConfig>): Promise<void> {
  try {
    await jsm.consumers.info(stream, config.durable_name ?? '');
  } catch (error) {
    if (!isMissing(error)) throw error;
    await jsm.consumers.add(stream, { ...CONSUMER, ...config });
  }
}

/** Both streams and the centers' durable. May be repeated and run in several centers at once. */
export async function ensureStreams(nc: NatsConnection): Promise<void> {
  const jsm = await nc.jetstreamManager({ checkAPI: false });
  for (const config of STREAMS) {
    try {
      await jsm.streams.info(config.name ?? '');
    } catch (error) {
      if (!isMissing(error)) throw error;
      await jsm.streams.add({ ...config, retention: RetentionPolicy.Workqueue, storage: StorageType.File });
    }
  }
  await ensureConsumer(jsm, EVT_STREAM, { durable_name: EVT_DURABLE });
}

/** Streams and the durables of every node: after JetStream lost what it had. */
export async function ensureAll(nc: NatsConnection, database: DataSource): Promise<void> {
  await ensureStreams(nc);
  const nodes = await database.query<{ id: string }[]>('SELECT id FROM nodes');
  for (const { id } of nodes) await ensureNodeConsumer(nc, id);
}

/** The durable that node `nodeId` pulls its commands from, and all that it stands on. */
export async function ensureNodeConsumer(nc: NatsConnection, nodeId: string): Promise<void> {
  const jsm = await nc.jetstreamManager({ checkAPI: false });
  const config = { durable_name: cmdDurable(nodeId), filter_subject: cmdFilter(nodeId) };
  try {
    await ensureConsumer(jsm, CMD_STREAM, config);
  } catch (error) {
    if (!isMissing(error)) throw error;
    await ensureStreams(nc);
    await ensureConsumer(jsm, CMD_STREAM, config);
  }
}
