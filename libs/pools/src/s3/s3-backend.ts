/**
 * Objects in an S3 bucket, under a prefix.
 *
 * Requests are never tried again here but for one: a conditional PUT whose answer got lost. Only this call knows the nonce it
 * stored with the object, so only it can tell its own object from another writer's.
 *
 * Bodies are sent with Content-MD5 in a signed header, and not hashed a second time for the signature: SHA-256 would cost
 * more than all else on the way.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import { setImmediate as breathe } from 'node:timers/promises';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { CancelledError, MIB, PermanentError, type S3PoolSpec, TransientError } from '@openservice/domain';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { type Backend, type ObjectInfo, ObjectNotFoundError } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { checkKey, checkPrefix } from '../keys.ts';
import { clientConfig, dialectOf, endpointOf, type S3Dialect } from './endpoint.ts';
import { isMissing, isTaken, mapS3Error, neverConnected } from './errors.ts';

const CONNECT_MS = 5_000;
/** A server that says nothing for so long is taken for dead. */
const IDLE_MS = 30_000;
const MAX_SOCKETS = 16;
const IF_ABSENT_TRIES = 3;
const NONCE = 'openservice-nonce';

/** Touches nothing before the first call. PermanentError `endpoint_invalid` for a spec that names no server. */
export function createS3Backend(spec: S3PoolSpec): Backend {
  return new S3Backend(spec);
}

class S3Backend implements Backend {
  readonly name: string;
  readonly #client: S3Client;
  readonly #dialect: S3Dialect;
  readonly #bucket: string;
  readonly #prefix: string;
  #strict: boolean | null;
  #bytesSent = 0;

  constructor(spec: S3PoolSpec) {
    this.#dialect = dialectOf(spec.s3_scheme);
    this.#strict = this.#dialect.ifAbsentTrusted ? true : null;
    this.#bucket = spec.bucket;
    this.#prefix = spec.prefix === '' ? '' : `${spec.prefix}/`;
    this.name = `S3 bucket "${spec.bucket}" at ${endpointOf(spec) ?? `AWS ${spec.region}`}`;
    this.#client = new S3Client({
      ...clientConfig(spec),
      requestHandler: new NodeHttpHandler({
        connectionTimeout: CONNECT_MS,
        socketTimeout: IDLE_MS,
        requestTimeout: IDLE_MS * 4,
        throwOnRequestTimeout: true,
        httpAgent: { maxSockets: MAX_SOCKETS, keepAlive: true },
        httpsAgent: { maxSockets: MAX_SOCKETS, keepAlive: true },
      }),
    });
    this.#client.middlewareStack.add(
      (next) => (args) => {
        const request = args.request as { method: string; headers: Record<string, string> };
        if (request.method === 'PUT') request.headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD';
        return next(args);
      },
      { step: 'build', name: 'unsignedPayload' },
    );
  }

  /** Not proven is not strict: `probe` of any layout proves it by its first putIfAbsent. */
  get fencing(): 'strict' | 'advisory' {
    return this.#strict === true ? 'strict' : 'advisory';
  }

  get bytesSent(): number {
    return this.#bytesSent;
  }

  async put(key: string, parts: Uint8Array | readonly Uint8Array[], signal: AbortSignal): Promise<void> {
    const bytes = parts instanceof Uint8Array ? parts : parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    try {
      await this.#put(key, bytes, null, signal);
    } catch (error) {
      throw this.#mapped(error, key, signal);
    }
  }

  async putIfAbsent(key: string, bytes: Uint8Array, signal: AbortSignal): Promise<boolean> {
    if (this.#strict === null) this.#strict = await this.#prove(signal);
    if (!this.#strict && (await this.head(key, signal)) !== null) return false;
    const nonce = randomBytes(16).toString('hex');
    let unanswered = false;
    for (let tries = 1; ; tries++) {
      try {
        await this.#put(key, bytes, this.#strict ? nonce : null, signal);
        return true;
      } catch (error) {
        if (isTaken(error)) return unanswered && (await this.#nonceOf(key, signal)) === nonce;
        const mapped = this.#mapped(error, key, signal);
        if (!(mapped instanceof TransientError) || tries === IF_ABSENT_TRIES) throw mapped;
        unanswered = true;
      }
    }
  }

  async get(key: string, range: { offset: number; length: number } | null, signal: AbortSignal): Promise<Buffer> {
    if (range !== null && range.length === 0) return Buffer.alloc(0);
    const asked = range === null ? {} : { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` };
    try {
      const answer = await this.#client.send(new GetObjectCommand({ ...this.#at(key), ...asked }), { abortSignal: signal });
      const length = range?.length ?? answer.ContentLength;
      if (length === undefined) throw new PermanentError('endpoint_invalid', `The ${this.name} sent ${key} without its length.`);
      if (range !== null && answer.ContentLength !== range.length) {
        (answer.Body as Readable).destroy();
        throw new TransientError(
          'short_read',
          `The ${this.name} sent ${answer.ContentLength} bytes of ${key} where ${length} were asked for.`,
        );
      }
      return await collect(answer.Body as Readable, length, key, this.name, signal);
    } catch (error) {
      if ((error as Error).name === 'InvalidRange') {
        throw new TransientError('short_read', `Object ${key} in ${this.name} is shorter than its index says.`, { cause: error });
      }
      throw this.#mapped(error, key, signal);
    }
  }

  async head(key: string, signal: AbortSignal): Promise<number | null> {
    try {
      const answer = await this.#client.send(new HeadObjectCommand(this.#at(key)), { abortSignal: signal });
      return answer.ContentLength ?? 0;
    } catch (error) {
      if (isMissing(error)) return null;
      throw this.#mapped(error, key, signal);
    }
  }

  async *list(prefix: string, signal: AbortSignal): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    let token: string | undefined;
    do {
      const page = await this.#page(prefix, token, signal);
      for (const object of page.Contents ?? []) {
        if (object.Key === undefined) continue;
        yield { key: object.Key.slice(this.#prefix.length), size: object.Size ?? 0 };
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
      if (page.IsTruncated === true && token === undefined) {
        // Half a list that passes for a whole one would hide ledger entries.
        throw new TransientError('list_cut', `The ${this.name} cut a list off without saying how it goes on.`);
      }
    } while (token !== undefined);
  }

  async remove(key: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#client.send(new DeleteObjectCommand(this.#at(key)), { abortSignal: signal });
    } catch (error) {
      const mapped = this.#mapped(error, key, signal);
      if (!(mapped instanceof ObjectNotFoundError)) throw mapped;
    }
  }

  async capacity(): Promise<number | null> {
    return null;
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  #at(key: string): { Bucket: string; Key: string } {
    checkKey(key);
    return { Bucket: this.#bucket, Key: this.#prefix + key };
  }

  #mapped(error: unknown, key: string | null, signal: AbortSignal): Error {
    if (signal.aborted) return new CancelledError('The work was stopped.', { cause: error });
    return mapS3Error(error, this.name, key);
  }

  /** `nonce`: null for an unconditional PUT; else the PUT is refused where the key is taken, and the object carries the nonce. */
  async #put(key: string, bytes: Uint8Array, nonce: string | null, signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    const ContentMD5 = await md5(bytes);
    const command = new PutObjectCommand({
      ...this.#at(key),
      Body: bytes,
      ContentLength: bytes.length,
      ContentMD5,
      ...(nonce === null ? {} : { Metadata: { [NONCE]: nonce } }),
    });
    if (nonce !== null) {
      const [name, value] = this.#dialect.ifAbsentHeader;
      command.middlewareStack.add(
        (next) => (args) => {
          (args.request as { headers: Record<string, string> }).headers[name] = value;
          return next(args);
        },
        { step: 'build', name: 'ifAbsent' },
      );
    }
    this.#bytesSent += bytes.length;
    try {
      await this.#client.send(command, { abortSignal: signal });
    } catch (error) {
      if (neverConnected(error)) this.#bytesSent -= bytes.length;
      throw error;
    }
  }

  async #nonceOf(key: string, signal: AbortSignal): Promise<string | undefined> {
    try {
      const answer = await this.#client.send(new HeadObjectCommand(this.#at(key)), { abortSignal: signal });
      return answer.Metadata?.[NONCE];
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw this.#mapped(error, key, signal);
    }
  }

  /** Servers that ignore the condition answer 200: then a fence must not be built on it. */
  async #prove(signal: AbortSignal): Promise<boolean> {
    const key = `probe/${randomBytes(12).toString('hex')}`;
    const bytes = Buffer.from('openservice asks whether conditional PUT is honoured\n');
    await this.put(key, bytes, signal);
    try {
      await this.#put(key, bytes, randomBytes(16).toString('hex'), signal);
      return false;
    } catch (error) {
      if (isTaken(error)) return true;
      const mapped = this.#mapped(error, key, signal);
      // 501 or 400: the server knows no such condition.
      if (mapped instanceof PermanentError && mapped.code === 's3_refused') return false;
      throw mapped;
    } finally {
      await this.remove(key, signal);
    }
  }

  async #page(prefix: string, token: string | undefined, signal: AbortSignal) {
    try {
      const page = await this.#client.send(
        new ListObjectsV2Command({
          Bucket: this.#bucket,
          Prefix: this.#prefix + prefix,
          ...(token === undefined ? {} : { ContinuationToken: token }),
        }),
        { abortSignal: signal },
      );
      // A web server's 200 with some page parses to nothing at all.
      if (page.KeyCount === undefined && page.Name === undefined && page.IsTruncated === undefined) {
        throw new PermanentError('endpoint_invalid', `What answers at the ${this.name} is no S3 server; correct the endpoint.`);
      }
      return page;
    } catch (error) {
      throw this.#mapped(error, null, signal);
    }
  }
}

/** Base64. Lets the event loop go on between mebibytes. */
async function md5(bytes: Uint8Array): Promise<string> {
  const hash = createHash('md5');
  for (let at = 0; at < bytes.length; at += MIB) {
    if (at > 0) await breathe();
    hash.update(bytes.subarray(at, at + MIB));
  }
  return hash.digest('base64');
}

async function collect(body: Readable, length: number, key: string, where: string, signal: AbortSignal): Promise<Buffer> {
  const stop = () => body.destroy(new CancelledError('The work was stopped.'));
  signal.addEventListener('abort', stop, { once: true });
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  try {
    for await (const piece of body as AsyncIterable<Buffer>) {
      if (at + piece.length > length)
        throw new TransientError('short_read', `The ${where} sent more of ${key} than was asked for.`);
      piece.copy(bytes, at);
      at += piece.length;
    }
  } finally {
    signal.removeEventListener('abort', stop);
  }
  if (at !== length)
    throw new TransientError('short_read', `The ${where} sent ${at} bytes of ${key} where ${length} were asked for.`);
  return bytes;
}
