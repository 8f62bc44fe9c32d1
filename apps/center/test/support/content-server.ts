/** The pool server of a node as far as content goes: keeps what is sent in memory, and does what a test tells it to. */
import { createPublicKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { readPoolToken, tokenAllows } from '@openservice/protocol';
import { CERTIFICATE } from './certificate.ts';

export const FINGERPRINT = new X509Certificate(CERTIFICATE.cert).fingerprint256.replaceAll(':', '').toLowerCase();

export class ContentServer {
  readonly held = new Map<string, Buffer>();
  /** Every request that came, as `METHOD range`. */
  readonly seen: string[] = [];
  /** The next PUT is answered by this instead. */
  onPut: ((request: IncomingMessage, response: ServerResponse) => Promise<void>) | null = null;
  /** SPKI DER, base64. */
  publicKey = '';
  readonly #server = createServer(CERTIFICATE, (request, response) => {
    this.#answer(request, response).catch((error: unknown) => response.destroy(error as Error));
  });

  async open(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const block = request.url?.split('/')[3] ?? '';
    this.seen.push(`${request.method} ${request.headers['content-range'] ?? ''}`.trim());
    const key = createPublicKey({ key: Buffer.from(this.publicKey, 'base64'), format: 'der', type: 'spki' });
    const token = readPoolToken((request.headers.authorization ?? '').replace('Bearer ', ''), key, Date.now());
    if (!tokenAllows(token, 'content', block, 'write')) return refuse(response, 403, 'forbidden');
    const held = this.held.get(block) ?? Buffer.alloc(0);
    if (request.method === 'HEAD') {
      response.writeHead(200, { 'content-offset': held.length, 'content-length': 0 }).end();
      return;
    }
    const special = this.onPut;
    this.onPut = null;
    if (special !== null) return special(request, response);
    const first = Number(/^bytes (\d+)-/.exec(request.headers['content-range'] ?? '')?.[1]);
    if (first !== held.length) return refuse(response, 409, 'content_offset_mismatch', { offset: held.length });
    await this.take(block, request);
    const offset = this.held.get(block)!.length;
    response.writeHead(200, { 'content-type': 'application/json', 'content-offset': offset }).end(JSON.stringify({ offset }));
  }

  /** What breaks off counts as far as it came. */
  async take(block: string, request: IncomingMessage): Promise<void> {
    for await (const part of request)
      this.held.set(block, Buffer.concat([this.held.get(block) ?? Buffer.alloc(0), part as Buffer]));
  }
}

export function refuse(response: ServerResponse, status: number, code: string, more: Record<string, unknown> = {}): void {
  const outcome = status >= 500 ? 'transient' : 'permanent';
  const body = JSON.stringify({ error: { code, message: `The stand-in says ${code}.`, outcome }, ...more });
  response.writeHead(status, { 'content-type': 'application/json' }).end(body);
}
