/** A node that is nothing but its answers: a command to run is `accepted`, `running` and `succeeded` as fast as the events can be sent. */
import { CMD_STREAM, cmdDurable, commandSchema, decodeJson, encodeJson, evtSubject, type JobResult } from '@openservice/protocol';
import { closeNats, connectNats, createLog } from '@openservice/runtime';
import type { ConsumerMessages, JsMsg } from 'nats';
import { serveBench } from './child.ts';
import { Presence } from './presence.ts';

const { BENCH_NATS = '', BENCH_NODE = '' } = process.env;
const RESULT: JobResult = { root_digest: null, size: null, replicas: [], verified: true, progress: null, damage: [] };
const log = createLog({ name: BENCH_NODE, level: 'warn' });
const nc = await connectNats({ url: BENCH_NATS, name: BENCH_NODE, log, signal: AbortSignal.timeout(20_000) });
const presence = new Presence(nc, BENCH_NODE, [], { heartbeats: [], syncs: [], refused: 0, failed: 0 });
await presence.start();

const js = nc.jetstream();
const answered = new Set<string>();
let problem = '';

async function answer(message: JsMsg): Promise<void> {
  const command = commandSchema.safeParse(decodeJson(message.data)).data;
  const name = `${command?.job_id}/${command?.attempt}`;
  if (command?.type !== 'run' || answered.has(name)) {
    message.ack();
    return;
  }
  answered.add(name);
  const { job_id, attempt, traceparent } = command;
  const tell = (seq: number, type: string, payload: unknown): Promise<unknown> => {
    const id = `${job_id}-${attempt}-e${seq}`;
    const event = { v: 1, id, type, job_id, attempt, seq, node: BENCH_NODE, node_epoch: 1, sent_at: new Date().toISOString() };
    const body = encodeJson({ ...event, traceparent, payload });
    return js.publish(evtSubject(BENCH_NODE, job_id, type), body, { msgID: id, timeout: 20_000 });
  };
  await Promise.all([
    tell(1, 'accepted', {}),
    tell(2, 'running', { resumed: false, at: new Date().toISOString() }),
    tell(3, 'succeeded', RESULT),
  ]);
  message.ack();
}

const consumer = await js.consumers.get(CMD_STREAM, cmdDurable(BENCH_NODE));
const commands: ConsumerMessages = await consumer.consume({ max_messages: 500 });
void (async () => {
  for await (const message of commands) {
    answer(message).catch((error: unknown) => {
      problem = String(error);
    });
  }
})();

serveBench(
  async () => {
    if (problem !== '') throw new Error(problem);
    return answered.size;
  },
  async () => {
    await commands.close();
    await presence.stop();
    await closeNats(nc);
  },
);
