/**
 * Requests with a reply over core NATS: NATS micro services (`nats micro ls`) on the server's side, typed calls on the other's,
 * both from the tables of @openservice/protocol. Nothing is stored and every call may be repeated.
 */
import { asOpenServiceError, PermanentError, TransientError } from '@openservice/domain';
import {
  type CenterMethod,
  centerRpc,
  centerRpcSubject,
  decodeJson,
  encodeJson,
  type NodeMethod,
  nodeRpc,
  nodeRpcSubject,
  type RpcReply,
  rpcReply,
} from '@openservice/protocol';
import { ErrorCode, type NatsConnection, NatsError, type Service, type ServiceMsg } from 'nats';
import type { z } from 'zod';
import type { Logger } from './log.ts';

type Requests<Table extends RpcTable, M extends keyof Table> = z.infer<Table[M]['request']>;
type Replies<Table extends RpcTable, M extends keyof Table> = z.infer<Table[M]['reply']>;
type RpcTable = Readonly<Record<string, { request: z.ZodType; reply: z.ZodType }>>;

export type CenterRequest<M extends CenterMethod> = Requests<typeof centerRpc, M>;
export type CenterReply<M extends CenterMethod> = Replies<typeof centerRpc, M>;
export type NodeRequest<M extends NodeMethod> = Requests<typeof nodeRpc, M>;
export type NodeReply<M extends NodeMethod> = Replies<typeof nodeRpc, M>;

/** One function for each method; what it throws becomes the reply's error. `node`: the id in the subject, which is who asks. */
export type CenterEndpoints = {
  readonly [M in CenterMethod]: (request: CenterRequest<M>, node: string) => Promise<CenterReply<M>>;
};
export type NodeEndpoints = { readonly [M in NodeMethod]: (request: NodeRequest<M>) => Promise<NodeReply<M>> };

interface ServeOptions {
  version: string;
  log: Logger;
  /** How the process is, for `nats micro stats`; JSON. */
  stats?: () => unknown;
}

/** Answers what nodes ask, as micro service `openservice-center`; of several centers one answers each request. */
export async function serveCenter(nc: NatsConnection, endpoints: CenterEndpoints, options: ServeOptions): Promise<Service> {
  const service = await nc.services.add({
    name: 'openservice-center',
    version: options.version,
    description: 'open-center: answers nodes',
    queue: 'center',
  });
  for (const method of Object.keys(centerRpc) as CenterMethod[]) {
    addEndpoint(service, method, centerRpcSubject('*', method), options.log, async (message) => {
      const node = message.subject.split('.')[4] ?? '';
      const request = parseRequest(centerRpc[method].request, message);
      const claimed = (request as { node_id?: unknown }).node_id;
      if (claimed !== undefined && claimed !== node) {
        throw new PermanentError('node_mismatch', `Node ${node} may not speak for ${String(claimed)}.`);
      }
      return await (endpoints[method] as (request: unknown, node: string) => Promise<unknown>)(request, node);
    });
  }
  return service;
}

/** Answers what centers ask of this node, as micro service `openservice-node`. */
export async function serveNode(
  nc: NatsConnection,
  nodeId: string,
  endpoints: NodeEndpoints,
  options: ServeOptions,
): Promise<Service> {
  const service = await nc.services.add({
    name: 'openservice-node',
    version: options.version,
    description: `open-node ${nodeId}`,
    metadata: { node: nodeId },
    ...(options.stats === undefined ? {} : { statsHandler: async () => options.stats?.() ?? null }),
    queue: nodeId,
  });
  for (const method of Object.keys(nodeRpc) as NodeMethod[]) {
    addEndpoint(service, method, nodeRpcSubject(nodeId, method), options.log, async (message) => {
      const request = parseRequest(nodeRpc[method].request, message);
      return await (endpoints[method] as (request: unknown) => Promise<unknown>)(request);
    });
  }
  return service;
}

function addEndpoint(
  service: Service,
  method: string,
  subject: string,
  log: Logger,
  answer: (message: ServiceMsg) => Promise<unknown>,
): void {
  service.addEndpoint(method, {
    subject,
    handler: (failed, message) => {
      if (failed) {
        log.warn({ method, err: failed }, 'A request could not be received.');
        return;
      }
      void (async () => {
        let reply: RpcReply;
        try {
          reply = { ok: true, result: await answer(message) };
        } catch (error) {
          const known = asOpenServiceError(error);
          if (known.code === 'internal') log.error({ method, err: error }, 'A request failed unexpectedly.');
          const message = known.message.slice(0, 2000);
          reply = { ok: false, error: { code: known.code, message, transient: known.outcome === 'transient' } };
        }
        try {
          if (message.reply) message.respond(encodeJson(reply));
        } catch (error) {
          log.warn({ method, err: error }, 'A reply could not be sent; whoever asked will ask again.');
        }
      })();
    },
  });
}

function parseRequest(schema: z.ZodType, message: ServiceMsg): unknown {
  let given: unknown;
  try {
    given = decodeJson(message.data);
  } catch (cause) {
    throw new PermanentError('invalid_request', 'The request is not JSON.', { cause });
  }
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues[0];
  throw new PermanentError('invalid_request', `The request is not valid at "${where?.path.join('.')}": ${where?.message}.`);
}

export interface CallOptions {
  /** Most time to wait for the reply, ms. */
  timeoutMs: number;
}

/**
 * Asks a center. TransientError `center_unavailable` when none answers in time; the center's own error with its code otherwise.
 * One that it did not expect itself (`internal`: its database was restarted, say) says nothing of the request, so it is transient.
 */
export async function callCenter<M extends CenterMethod>(
  nc: NatsConnection,
  nodeId: string,
  method: M,
  request: CenterRequest<M>,
  options: CallOptions,
): Promise<CenterReply<M>> {
  const away = new TransientError('center_unavailable', `No center answers ${method}; it is away or NATS is.`);
  const reply = await call(nc, centerRpcSubject(nodeId, method), request, options, away).catch((error: unknown) => {
    if (!(error instanceof PermanentError) || error.code !== 'internal') throw error;
    throw new TransientError(error.code, `A center failed to answer ${method}; its log has the cause.`, { cause: error });
  });
  return parseReply<CenterReply<M>>(centerRpc[method].reply, reply, method);
}

/** Asks a node. TransientError `node_unavailable` when it does not answer in time; the node's own error with its code otherwise. */
export async function callNode<M extends NodeMethod>(
  nc: NatsConnection,
  nodeId: string,
  method: M,
  request: NodeRequest<M>,
  options: CallOptions,
): Promise<NodeReply<M>> {
  const away = new TransientError('node_unavailable', `Node ${nodeId} does not answer; see that it runs and reaches NATS.`);
  const reply = await call(nc, nodeRpcSubject(nodeId, method), request, options, away);
  return parseReply<NodeReply<M>>(nodeRpc[method].reply, reply, method);
}

/** Tells a node without waiting for a reply; lost when the node or NATS is away. */
export function tellNode<M extends NodeMethod>(nc: NatsConnection, nodeId: string, method: M, request: NodeRequest<M>): void {
  nc.publish(nodeRpcSubject(nodeId, method), encodeJson(request));
}

async function call(
  nc: NatsConnection,
  subject: string,
  request: unknown,
  options: CallOptions,
  away: TransientError,
): Promise<unknown> {
  let data: Uint8Array;
  try {
    data = (await nc.request(subject, encodeJson(request), { timeout: options.timeoutMs })).data;
  } catch (cause) {
    if (cause instanceof NatsError && cause.code === ErrorCode.PermissionsViolation) {
      throw new PermanentError('permission_denied', `NATS does not allow a request on ${subject}; see the user's permissions.`, {
        cause,
      });
    }
    away.cause = cause;
    throw away;
  }
  const reply = rpcReply.parse(decodeJson(data));
  if (reply.ok) return reply.result;
  const { code, message, transient } = reply.error;
  throw transient ? new TransientError(code, message) : new PermanentError(code, message);
}

function parseReply<Reply>(schema: z.ZodType, value: unknown, method: string): Reply {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data as Reply;
  throw new PermanentError('invalid_reply', `The reply to ${method} is not of this version: ${parsed.error.issues[0]?.message}.`);
}
