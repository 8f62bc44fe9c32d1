/**
 * Requests with a reply over core NATS (micro services "openservice-center" and "openservice-node"). Nothing of it is
 * stored, so pool specs with their secrets may pass here. Every call may be repeated.
 *
 * A reply is `{ok: true, result}` or `{ok: false, error: {code, message, transient}}`.
 */
import { type PoolSpec, S3_SCHEMES } from '@openservice/domain';
import { z } from 'zod';
import { failureSchema, jobResult } from './events.ts';

export const poolSpecSchema: z.ZodType<PoolSpec> = z.discriminatedUnion('type', [
  z.object({ id: z.string(), type: z.literal('local'), node_id: z.string(), path: z.string() }),
  z.object({
    id: z.string(),
    type: z.literal('s3'),
    s3_scheme: z.enum(S3_SCHEMES),
    endpoint: z.string().nullable(),
    region: z.string(),
    bucket: z.string(),
    prefix: z.string(),
    access_key: z.string(),
    secret_key: z.string(),
    https: z.boolean(),
  }),
]);

/** A command that a node holds and has not finished telling the center about. */
const heldSchema = z.object({
  job_id: z.string(),
  attempt: z.number().int().positive(),
  state: z.enum(['accepted', 'running', 'preparing', 'committing', 'finished']),
});
export type HeldAttempt = z.infer<typeof heldSchema>;

/**
 * continue: go on. abort: a newer attempt or the job's end makes it void: stop, drop what is not committed, forget it.
 * resend: the center lacks the events: send them again. forget: the center has its end: drop it from the journal.
 */
export const VERDICTS = ['continue', 'abort', 'resend', 'forget'] as const;
export type Verdict = (typeof VERDICTS)[number];
const answersSchema = z.array(z.object({ job_id: z.string(), attempt: z.number().int(), verdict: z.enum(VERDICTS) }));

/** What a node asks of a center. Subject: centerRpcSubject(node, method). */
export const centerRpc = {
  /** At connect, and every minute: who I am and what I hold. Makes the node's durable consumer where it is missing. */
  sync: {
    request: z.object({
      node_id: z.string(),
      name: z.string(),
      /** Unix ms of the process's start: a new one at each start, always larger. */
      epoch: z.number().int().positive(),
      version: z.string(),
      kinds: z.array(z.string()),
      import_roots: z.array(z.string()),
      pool_endpoint: z.string().nullable(),
      nbd_endpoint: z.string().nullable(),
      held: z.array(heldSchema).max(10_000),
    }),
    reply: z.object({
      answers: answersSchema,
      heartbeat_ms: z.number().int().positive(),
      /** Without an answer to a heartbeat for this long, the node stops committing and deleting by itself. */
      lease_ms: z.number().int().positive(),
    }),
  },
  heartbeat: {
    request: z.object({ node_id: z.string(), epoch: z.number().int().positive() }),
    /** `sync`: the center wants a sync now. */
    reply: z.object({ lease_ms: z.number().int().positive(), sync: z.boolean() }),
  },
  /** Two-step commit: all is durable and prepared; may this attempt commit? The compare-and-set is the center's. */
  prepare: {
    request: z.object({
      job_id: z.string(),
      attempt: z.number().int().positive(),
      fence: z.number().int().positive(),
      result: jobResult,
    }),
    reply: z.object({ granted: z.boolean(), reason: z.string() }),
  },
  /** The spec of a pool, with its secrets. */
  pool: { request: z.object({ pool_id: z.string() }), reply: z.object({ spec: poolSpecSchema }) },
} as const;
export type CenterMethod = keyof typeof centerRpc;

/** What a center asks of a node. Subject: nodeRpcSubject(node, method). */
export const nodeRpc = {
  pool_probe: {
    request: z.object({ spec: poolSpecSchema, create: z.boolean() }),
    reply: z.object({ capacity_bytes: z.number().int().nonnegative().nullable(), fencing: z.enum(['strict', 'advisory']) }),
  },
  /** Looks at the file of an import: inside an import root, readable, how large. */
  source_probe: {
    request: z.object({ source: z.object({ type: z.literal('file'), path: z.string() }) }),
    reply: z.object({ size: z.number().int().nonnegative() }),
  },
  /** Looks at where a restore would write: inside an import root, not there yet, room enough. */
  target_probe: {
    request: z.object({ target: z.object({ type: z.literal('file'), path: z.string() }), size: z.number().int().nonnegative() }),
    reply: z.object({}),
  },
  /** Told after the ingest of events has committed: the node may drop them from its outbox. Sent without waiting for a reply. */
  have: {
    request: z.object({
      events: z.array(z.object({ job_id: z.string(), attempt: z.number().int(), seq: z.number().int() })).max(1000),
    }),
    reply: z.object({}),
  },
} as const;
export type NodeMethod = keyof typeof nodeRpc;

export const rpcReply = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), result: z.unknown() }),
  z.object({ ok: z.literal(false), error: failureSchema.extend({ transient: z.boolean() }) }),
]);
export type RpcReply = z.infer<typeof rpcReply>;
