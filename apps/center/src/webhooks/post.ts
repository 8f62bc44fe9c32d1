/** One try of a delivery: one POST, no redirect followed, a deadline over all of it, and of the answer no more than a glance. */
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { demandOpenAddress, openLookup } from '@openservice/runtime';

const MOST_ANSWER = 1_024;
const SOCKETS = 4;

export interface PostAnswer {
  status: number;
  /** The beginning of its body: receivers say there what they do not like. */
  text: string;
}

/** Connections that are used again. */
export class WebhookClient {
  readonly #http = new HttpAgent({ keepAlive: true, maxSockets: SOCKETS });
  readonly #https = new HttpsAgent({ keepAlive: true, maxSockets: SOCKETS });

  /** Rejects with `signal`'s reason, `address_not_allowed`, or what the connection failed by. */
  async post(url: string, headers: Record<string, string>, body: string, signal: AbortSignal): Promise<PostAnswer> {
    const target = new URL(url);
    demandOpenAddress(target.hostname);
    const answer = await this.#send(target, headers, body, signal);
    try {
      return { status: answer.statusCode ?? 0, text: await beginningOf(answer, signal) };
    } finally {
      // What is not read would else be kept waiting, or be read for ever.
      if (!answer.readableEnded) answer.destroy();
    }
  }

  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  #send(url: URL, headers: Record<string, string>, body: string, signal: AbortSignal): Promise<IncomingMessage> {
    const secure = url.protocol === 'https:';
    const send = secure ? requestHttps : requestHttp;
    return new Promise((resolve, reject) => {
      const request = send(url, {
        method: 'POST',
        agent: secure ? this.#https : this.#http,
        signal,
        lookup: openLookup,
        headers: { ...headers, 'Content-Length': String(Buffer.byteLength(body)) },
      });
      request.once('response', resolve);
      request.once('error', (error) => reject(signal.aborted ? signal.reason : error));
      request.end(body);
    });
  }
}

async function beginningOf(answer: IncomingMessage, signal: AbortSignal): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of answer) {
      parts.push(part as Buffer);
      size += (part as Buffer).length;
      if (size >= MOST_ANSWER) break;
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
  return Buffer.concat(parts).subarray(0, MOST_ANSWER).toString('utf8');
}
