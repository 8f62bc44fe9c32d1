/**
 * Requests with a reply over core NATS (micro services "openservice-center" and "openservice-node"). Nothing of it is
 * stored, so pool specs with their secrets may pass here. Every call may be repeated.
 *
 * A reply is `{ok: true, result}` or `{ok: false, error: {code, message, transient}}`.
 */
import { type PoolSpec, S3_SCHEMES } from '@openservice/domain';
import { z } from 'zod';
import { blockMetaSchema, IMAGE_FORMATS } from './commands.ts';
import { failureSchema, jobResult } from './events.ts';

const encryptionKey = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .nullable();

export const poolSpecSchema: z.ZodType<PoolSpec> = z.discriminatedUnion('type', [
  z.object({ id: z.string(), type: z.literal('local'), node_id: z.string(), path: z.string() }),
  z.object({ id: z.string(), type: z.literal('dedup'), node_id: z.string(), path: z.string(), encryption_key: encryptionKey }),
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
    encryption_key: encryptionKey,
  }),
  z.object({
    id: z.string(),
    type: z.literal('remote'),
    host: z.string(),
    port: z.number().int(),
    https: z.boolean(),
    tls_fingerprint: z.string().nullable(),
    remote_pool: z.string(),
    auth: z.discriminatedUnion('type', [
      z.object({ type: z.literal('center') }),
      z.object({ type: z.literal('access_key'), access_key: z.string(), secret_key: z.string() }),
    ]),
  }),
]);

/** What a token of a pool server allows. `manage`: probe, list, collect. */
export const POOL_RIGHTS = ['read', 'write', 'manage'] as const;
export type PoolRight = (typeof POOL_RIGHTS)[number];

/** A token for one pool, one block (null: the pool as a whole) and one right; signed by a center (`pool-token.ts`). */
const tokenReply = z.object({ token: z.string(), expires_in_ms: z.number().int().positive() });

/** A command that a node holds and has not finished telling the center about. */
const heldSchema = z.object({
  job_id: z.string(),
  attempt: z.number().int().positive(),
  state: z.enum(['accepted', 'running', 'paused', 'preparing', 'committing', 'finished']),
});
export type HeldAttempt = z.infer<typeof heldSchema>;

/**
 * continue: go on. abort: a newer attempt or the job's end makes it void: stop, drop what is not committed, forget it.
 * resend: the center lacks the events: send them again. forget: the center has its end: drop it from the journal.
 */
export const VERDICTS = ['continue', 'abort', 'resend', 'forget'] as const;
export type Verdict = (typeof VERDICTS)[number];
const answersSchema = z.array(z.object({ job_id: z.string(), attempt: z.number().int(), verdict: z.enum(VERDICTS) }));

/** How an instance is doing. Bytes are counted since the node's start. */
export const instanceReport = z.object({
  instance_id: z.string(),
  state: z.enum(['loaded', 'error']),
  /** Why, where it is `error`. */
  message: z.string().nullable(),
  disks: z.array(
    z.object({
      index: z.number().int().nonnegative(),
      block_id: z.string(),
      pool_id: z.string(),
      overlay_bytes: z.number().int().nonnegative(),
      bytes_read: z.number().int().nonnegative(),
      bytes_written: z.number().int().nonnegative(),
      connections: z.number().int().nonnegative(),
      /** Path of the Unix socket. */
      socket: z.string(),
      /** Names of the export, the first is the one to use. */
      exports: z.array(z.string()).min(1),
    }),
  ),
});
export type InstanceReport = z.infer<typeof instanceReport>;

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
      /** SHA-256 of the certificate of the pool server, hex; null where it does not speak TLS. */
      pool_fingerprint: z.string().nullable().default(null),
      nbd_endpoint: z.string().nullable(),
      held: z.array(heldSchema).max(10_000),
      /** Instances that the node serves, or keeps and cannot serve now. */
      instances: z.array(instanceReport).max(1000).default([]),
      /** The node's clock, RFC 3339: to see one that is off. Nothing else goes by it. */
      sent_at: z.string().max(40).optional(),
    }),
    reply: z.object({
      answers: answersSchema,
      /** Instances that the center does not know (any more): a person decides; the node goes on with them. */
      unknown_instances: z.array(z.string()).default([]),
      heartbeat_ms: z.number().int().positive(),
      /** Without an answer to a heartbeat for this long, the node stops committing and deleting by itself. */
      lease_ms: z.number().int().positive(),
      /** Public key (Ed25519, SPKI DER, base64) of the tokens that the node's pool server accepts. */
      pool_token_key: z.string().optional(),
      /** Bytes a second that all transfers of the node together, and those that touch one pool, may move; null: no limit. */
      limits: z
        .object({
          bandwidth: z.number().positive().nullable(),
          pools: z.array(z.object({ pool_id: z.string(), bandwidth: z.number().positive() })),
        })
        .default({ bandwidth: null, pools: [] }),
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
  /**
   * `move`, after the target was committed and read back: the center records its replica as there, and the source's as going. Only after
   * that does the node remove the source. Repeated: the same answer.
   */
  record: {
    request: z.object({
      job_id: z.string(),
      attempt: z.number().int().positive(),
      fence: z.number().int().positive(),
      result: jobResult,
    }),
    reply: z.object({ recorded: z.boolean(), reason: z.string() }),
  },
  /** `rebuild`: blocks that the pool holds; the center adds the rows that it lacks. */
  found: {
    request: z.object({
      job_id: z.string(),
      attempt: z.number().int().positive(),
      pool_id: z.string(),
      blocks: z
        .array(
          z.object({
            id: z.string(),
            size: z.number().int().nonnegative(),
            chunk_size: z.number().int().positive(),
            root_digest: z.string(),
            stored_bytes: z.number().int().nonnegative(),
            trashed: z.boolean(),
            meta: blockMetaSchema.nullable(),
          }),
        )
        .max(200),
    }),
    reply: z.object({ added: z.number().int(), known: z.number().int(), conflicts: z.array(z.string()) }),
  },
  /** The spec of a pool, with its secrets. A directory of another node comes as that node's pool server (`remote`). */
  pool: { request: z.object({ pool_id: z.string() }), reply: z.object({ spec: poolSpecSchema }) },
  /** For a `remote` spec with auth `center`. */
  pool_token: {
    request: z.object({ pool_id: z.string(), block_id: z.string().nullable(), right: z.enum(POOL_RIGHTS) }),
    reply: tokenReply,
  },
  /** Asked by a pool server for a client of another center, which signed with its secret key (`pool-token.ts`). */
  pool_login: {
    request: z.object({
      access_key: z.string(),
      nonce: z.string(),
      /** RFC 3339; refused when more than 5 minutes off the center's clock. */
      issued_at: z.string(),
      signature: z.string(),
      pool: z.string(),
      block_id: z.string().nullable(),
      right: z.enum(POOL_RIGHTS),
    }),
    reply: tokenReply,
  },
} as const;
export type CenterMethod = keyof typeof centerRpc;

/** What a center asks of a node. Subject: nodeRpcSubject(node, method). */
export const nodeRpc = {
  pool_probe: {
    request: z.object({ spec: poolSpecSchema, create: z.boolean() }),
    reply: z.object({ capacity_bytes: z.number().int().nonnegative().nullable(), fencing: z.enum(['strict', 'advisory']) }),
  },
  /** Looks at the source of an import: within its import root, readable, how large (bytes of the disk, not of the file), in which format. */
  source_probe: {
    request: z.object({
      source: z.discriminatedUnion('type', [
        z.object({ type: z.literal('file'), path: z.string(), format: z.enum(IMAGE_FORMATS).nullable().default(null) }),
        z.object({ type: z.literal('http'), url: z.string(), format: z.enum(IMAGE_FORMATS).nullable().default(null) }),
        z.object({ type: z.literal('nbd'), uri: z.string() }),
      ]),
    }),
    reply: z.object({
      size: z.number().int().nonnegative(),
      format: z.enum(IMAGE_FORMATS).default('raw'),
      etag: z.string().nullable().default(null),
      last_modified: z.string().nullable().default(null),
    }),
  },
  /** Looks at where a restore would write: within an import root, not there yet (but for `delta` and devices), room enough. */
  target_probe: {
    request: z.object({
      target: z.discriminatedUnion('type', [
        z.object({ type: z.literal('file'), path: z.string() }),
        z.object({ type: z.literal('nbd'), uri: z.string() }),
      ]),
      size: z.number().int().nonnegative(),
      delta: z.boolean().default(false),
    }),
    reply: z.object({}),
  },
  /**
   * Blocks that a pool holds, committed or in its trash, as the node finds them: those after `after` in order of id, `limit` of them, or, with
   * `ids`, those of these alone that are committed. Damaged ones are named, too.
   */
  pool_blocks: {
    request: z.object({
      pool_id: z.string(),
      after: z.string(),
      limit: z.number().int().min(1).max(1000),
      ids: z.array(z.string()).max(1000).nullable(),
    }),
    reply: z.object({
      blocks: z.array(z.object({ id: z.string(), state: z.enum(['committed', 'trashed', 'damaged']) })),
      /** There may be more after the last of these. */
      more: z.boolean(),
    }),
  },
  /** How an instance is doing now. PermanentError `instance_not_found`. */
  instance_stat: { request: z.object({ instance_id: z.string() }), reply: instanceReport },
  /** Drops what a client sent for a block that will not be imported. Repeated: nothing. */
  content_drop: { request: z.object({ block_id: z.string() }), reply: z.object({}) },
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
