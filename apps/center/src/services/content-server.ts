/**
 * The pool server of a node, for content that clients send: one connection a call, its certificate compared with the one that the node told
 * before anything is sent.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { TransientError } from '@openservice/domain';
import type { PoolEndpoint } from './pool-endpoint.ts';

const CONNECT_LIMIT_MS = 10_000;
/** Neither a byte taken nor one answered for as long. */
const IDLE_LIMIT_MS = 120_000;

export interface ContentServer extends PoolEndpoint {
  nodeId: string;
  /** SHA-256 of the certificate, hex; null where the server does not speak TLS. */
  fingerprint: string | null;
  /** Right to this block's content. */
  token: string;
}

/** Begins a request; its body is the caller's to write and end. TransientError `node_unavailable` when the server cannot be reached or is another. */
export async function startRequest(
  server: ContentServer,
  method: 'HEAD' | 'PUT',
  path: string,
  headers: Record<string, string | number>,
): Promise<ClientRequest> {
  const socket = await open(server);
  socket.setTimeout(IDLE_LIMIT_MS, () => socket.destroy(new Error(`nothing passed for ${IDLE_LIMIT_MS} ms`)));
  return request({
    createConnection: () => socket,
    method,
    path,
    host: server.host,
    port: server.port,
    headers: { ...headers, Authorization: `Bearer ${server.token}`, Connection: 'close' },
  });
}

/** The answer's head; the error of the connection as a TransientError. */
export async function answerTo(server: ContentServer, call: ClientRequest): Promise<IncomingMessage> {
  try {
    const [answer] = (await once(call, 'response')) as [IncomingMessage];
    return answer;
  } catch (error) {
    throw away(server, error);
  }
}

export function away(server: ContentServer, error: unknown): TransientError {
  const why = error instanceof Error ? error.message : String(error);
  return new TransientError(
    'node_unavailable',
    `The pool server of node ${server.nodeId} at ${server.host}:${server.port} did not take the content: ${why}. Ask for the offset (HEAD) and go on from it.`,
    { cause: error },
  );
}

async function open(server: ContentServer): Promise<Socket> {
  const { host, port } = server;
  // The fingerprint says who it is; a certificate that a node made for itself has no authority that would.
  const socket = server.https ? connectTls({ host, port, servername: '', rejectUnauthorized: false }) : connect({ host, port });
  const late = setTimeout(() => socket.destroy(new Error('it does not answer')), CONNECT_LIMIT_MS);
  try {
    await once(socket, server.https ? 'secureConnect' : 'connect');
    if (server.https) mustBe(server.fingerprint, socket as TLSSocket);
    return socket;
  } catch (error) {
    socket.destroy();
    throw away(server, error);
  } finally {
    clearTimeout(late);
  }
}

function mustBe(fingerprint: string | null, socket: TLSSocket): void {
  const { raw } = socket.getPeerCertificate();
  if (raw !== undefined && createHash('sha256').update(raw).digest('hex') === fingerprint) return;
  throw new Error('it shows another certificate than the node told the center; if it was just made anew, the next sync tells it');
}
