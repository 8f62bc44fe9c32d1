/**
 * The envelope of every command and event: JSON, readable with the NATS CLI. A message may come twice, late or never:
 * (job_id, attempt, seq) tells an event apart, (job_id, attempt, type) a command.
 */
import { z } from 'zod';

export const PROTOCOL_VERSION = 1;

const envelopeFields = {
  v: z.literal(PROTOCOL_VERSION),
  /** Also the Nats-Msg-Id. A message that is sent again gets a new one. */
  id: z.string().min(1).max(128),
  job_id: z.string().min(1).max(64),
  /** 1, 2, 3 … for each dispatch of the job. */
  attempt: z.number().int().positive(),
  /** Events: 1, 2, 3 … within the attempt. Commands: 0. */
  seq: z.number().int().nonnegative(),
  node: z.string().min(1).max(64),
  /** Events: the epoch of the node process that made it; commands: 0. */
  node_epoch: z.number().int().nonnegative(),
  /** RFC 3339, UTC. For people; nothing is decided by it. */
  sent_at: z.string(),
  /** W3C trace context, https://www.w3.org/TR/trace-context/. */
  traceparent: z.string().max(64),
};

export const envelopeSchema = z.object({ ...envelopeFields, type: z.string().min(1).max(32), payload: z.unknown() });
export type Envelope = z.infer<typeof envelopeSchema>;

export type EnvelopeOf<Type extends string, Payload> = Omit<Envelope, 'type' | 'payload'> & { type: Type; payload: Payload };

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export function encodeJson(value: unknown): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}

/** The parsed JSON; throws SyntaxError or TypeError for bytes that are none. */
export function decodeJson(bytes: Uint8Array): unknown {
  return JSON.parse(decoder.decode(bytes));
}
