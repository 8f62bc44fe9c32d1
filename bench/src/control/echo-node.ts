/** A node that is nothing but its answers: a command to run is `accepted`, `running` and `succeeded` as fast as the events can be sent. */
import {
  CMD_STREAM,
  cmdDurable,
  commandSchema,
  decodeJson,
  encodeJson,
  evtSubject,
  type JobResult,
  nodeRpcSubject,
} from '@openservice/protocol';
import { closeNats, connectNats, createLog } from '@openservice/runtime';
import type { ConsumerMessages, JsMsg } from 'nats';
import { serveBench } from './child.ts';
import { Presence } from './presence.ts';

const { BENCH_NATS = '', BENCH_NODE = '' } = process.env;
const LAST_SEQ = 3;
const PUBLISH_MS = 5000;
const TELL_AGAIN_MS = 10_000;
const RESULT: JobResult = { root_digest: null, size: null, replicas: [], verified: true, progress: null, damage: [] };
const log = createLog({ name: BENCH_NODE, level: 'warn' });
const nc = await connectNats({ url: BENCH_NATS, name: BENCH_NODE, log, signal: AbortSignal.timeout(20_000) });
const presence = new Presence(nc, BENCH_NODE, [], { heartbeats: [], syncs: [], refused: 0, failed: 0 });
await presence.start();

const js = nc.jetstream();
/** Events that no center has said to have, as a node keeps them in its journal: told again until one does. */
const untold = new Map<string, { toldAt: number; tell: (again: number) => Promise<void>; tries: number }>();
const ended = new Set<string>();
let problem = '';

nc.subscribe(nodeRpcSubject(BENCH_NODE, 'have'), {
  callback: (_error, message) => {
    const { events } = decodeJson(message.data) as { events: { job_id: string; attempt: number; seq: number }[] };
    for (const { job_id, attempt, seq } of events) if (seq === LAST_SEQ) untold.delete(`${job_id}/${attempt}`);
  },
});

function answer(message: JsMsg): void {
  const command = commandSchema.safeParse(decodeJson(message.data)).data;
  const name = `${command?.job_id}/${command?.attempt}`;
  message.ack();
  if (command?.type !== 'run' || ended.has(name)) return;
  ended.add(name);
  const { job_id, attempt, traceparent } = command;
  const publish = async (again: number, seq: number, type: string, payload: unknown): Promise<void> => {
    const id = `${job_id}-${attempt}-e${seq}-${again}`;
    const event = { v: 1, id, type, job_id, attempt, seq, node: BENCH_NODE, node_epoch: 1, sent_at: new Date().toISOString() };
    const body = encodeJson({ ...event, traceparent, payload });
    await js.publish(evtSubject(BENCH_NODE, job_id, type), body, { msgID: id, timeout: PUBLISH_MS });
  };
  const tell = async (again: number): Promise<void> => {
    await Promise.all([
      publish(again, 1, 'accepted', {}),
      publish(again, 2, 'running', { resumed: false, at: new Date().toISOString() }),
      publish(again, LAST_SEQ, 'succeeded', RESULT),
    ]);
  };
  const row = { toldAt: performance.now(), tell, tries: 0 };
  untold.set(name, row);
  tellNow(row);
}

function tellNow(row: { toldAt: number; tell: (again: number) => Promise<void>; tries: number }): void {
  row.toldAt = performance.now();
  row.tell(row.tries++).catch((error: unknown) => {
    problem = String(error);
  });
}

const again = setInterval(() => {
  const before = performance.now() - TELL_AGAIN_MS;
  for (const row of untold.values()) if (row.toldAt < before) tellNow(row);
}, 1000);

const consumer = await js.consumers.get(CMD_STREAM, cmdDurable(BENCH_NODE));
const commands: ConsumerMessages = await consumer.consume({ max_messages: 500 });
void (async () => {
  for await (const message of commands) {
    answer(message);
  }
})();

serveBench(
  async () => ({ jobs: ended.size, untold: untold.size, problem }),
  async () => {
    clearInterval(again);
    await commands.close();
    await presence.stop();
    await closeNats(nc);
  },
);
