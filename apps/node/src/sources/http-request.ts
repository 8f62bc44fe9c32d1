/** One GET, redirects followed. Nothing is fetched but what was asked for and where that leads. */
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { asOpenServiceError, CancelledError, OpenServiceError, PermanentError, TransientError } from '@openservice/domain';
import { demandOpenAddress, openLookup } from '@openservice/runtime';

const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** ms without a byte. */
const QUIET_LIMIT = 30_000;
const SOCKETS = 4;

export interface HttpAnswer {
  status: number;
  headers: IncomingMessage['headers'];
  /** To be read to its end, or destroyed. */
  body: IncomingMessage;
}

/** Connections that are used again. */
export class HttpClient {
  readonly #http = new HttpAgent({ keepAlive: true, maxSockets: SOCKETS });
  readonly #https = new HttpsAgent({ keepAlive: true, maxSockets: SOCKETS });
  readonly #quietLimit: number;

  constructor(quietLimit = QUIET_LIMIT) {
    this.#quietLimit = quietLimit;
  }

  /** Any status but a redirect comes back as an answer. PermanentError `bad_url`, `address_not_allowed`, `source_unreadable`; TransientError `unreachable`. */
  async get(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<HttpAnswer> {
    let target = parseUrl(url);
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const body = await this.#send(target, headers, signal);
      const status = body.statusCode ?? 0;
      if (!REDIRECTS.has(status)) return { status, headers: body.headers, body };
      body.destroy();
      target = follow(target, body.headers.location);
    }
    throw new PermanentError(
      'source_unreadable',
      `${safeName(url)} leads from one address to the next more than ${MAX_REDIRECTS} times.`,
    );
  }

  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  async #send(url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<IncomingMessage> {
    demandOpenAddress(url.hostname);
    const secure = url.protocol === 'https:';
    const send = secure ? requestHttps : requestHttp;
    return new Promise((resolve, reject) => {
      const agent = secure ? this.#https : this.#http;
      const request = send(url, {
        agent,
        signal,
        lookup: openLookup,
        headers: { ...headers, 'accept-encoding': 'identity', 'user-agent': 'openservice' },
      });
      request.setTimeout(this.#quietLimit, () => {
        request.destroy(
          new TransientError('unreachable', `${safeName(url.href)} sent nothing for ${this.#quietLimit / 1000} s.`),
        );
      });
      request.once('response', resolve);
      // It stays: a request that was answered can still fail, which its body tells.
      request.on('error', (error) => reject(connectionError(url.href, error, signal)));
      request.end();
    });
  }
}

/** No more than `most` bytes of a body: a server may send on for ever. */
export async function readAtMost(body: IncomingMessage, most: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of body) {
    parts.push(part as Buffer);
    length += (part as Buffer).length;
    if (length >= most) break;
  }
  return Buffer.concat(parts).subarray(0, most);
}

/** PermanentError `bad_url`. */
export function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new PermanentError('bad_url', `${JSON.stringify(safeName(text))} is no http or https URL.`);
  }
  return url;
}

/** For messages: passwords and signatures are left out. */
export function safeName(url: string): string {
  if (!URL.canParse(url)) return url.slice(0, 200);
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`.slice(0, 300);
}

export function connectionError(url: string, error: unknown, signal: AbortSignal): OpenServiceError {
  if (signal.aborted) {
    const late = signal.reason instanceof Error && signal.reason.name === 'TimeoutError';
    if (late)
      return new TransientError('unreachable', `${safeName(url)} did not answer in the time that was given.`, { cause: error });
    return new CancelledError('The work was stopped.', { cause: error });
  }
  if (error instanceof OpenServiceError) return error;
  const known = asOpenServiceError(error);
  if (known.outcome === 'transient' || (error as NodeJS.ErrnoException).code === undefined) {
    return new TransientError('unreachable', `${safeName(url)} cannot be read now: ${(error as Error).message}.`, {
      cause: error,
    });
  }
  return new PermanentError('source_unreadable', `${safeName(url)} cannot be read: ${(error as Error).message}.`, {
    cause: error,
  });
}

/** What a status other than 200 and 206 means. */
export function statusError(url: string, status: number): OpenServiceError {
  const name = safeName(url);
  if (status === 404 || status === 410)
    return new PermanentError('source_not_found', `There is nothing at ${name} (${status}); check the URL.`);
  if (status === 412 || status === 416)
    return new PermanentError('source_changed', `${name} was changed while it was imported (${status}); import it again.`);
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    return new TransientError('unreachable', `The server of ${name} answers ${status}; it will be tried again.`);
  }
  const remedy =
    status === 401 || status === 403
      ? 'it refuses access; check the URL and whether it has expired'
      : 'that is no answer to a download';
  return new PermanentError('source_unreadable', `The server of ${name} answers ${status}: ${remedy}.`);
}

function follow(from: URL, location: string | undefined): URL {
  const to = location !== undefined && URL.canParse(location, from.href) ? new URL(location, from.href) : null;
  if (to === null || (to.protocol !== 'http:' && to.protocol !== 'https:')) {
    throw new PermanentError('source_unreadable', `${safeName(from.href)} leads to no http or https URL.`);
  }
  if (from.protocol === 'https:' && to.protocol === 'http:') {
    throw new PermanentError(
      'source_unreadable',
      `${safeName(from.href)} leads from https to plain http, which is not followed.`,
    );
  }
  return to;
}
