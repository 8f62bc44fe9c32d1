/** Bodies of requests: bounded in bytes and in time. */
import type { IncomingMessage } from 'node:http';
import { PermanentError, TransientError } from '@openservice/domain';
import { MAX_BODY_BYTES } from '@openservice/pools';
import type { z } from 'zod';

/** Heads of items around a body full of chunks. */
const SLACK = 64 * 1024;
/** Of JSON: nothing that is told so is long. */
const MAX_JSON_BYTES = 256 * 1024;

/** The body as it comes; PermanentError `body_too_large`, TransientError `timed_out` when all of it takes longer than `limitMs`. `most`: bytes. */
export async function* bodyOf(
  request: IncomingMessage,
  limitMs: number,
  most: number = MAX_BODY_BYTES + SLACK,
): AsyncGenerator<Buffer> {
  const tooLarge = (): PermanentError =>
    new PermanentError('body_too_large', `This request may have ${most} bytes of body at most.`);
  if (Number(request.headers['content-length'] ?? 0) > most) throw tooLarge();
  const late = setTimeout(
    () => request.destroy(new TransientError('timed_out', 'The body of the request came too slowly.')),
    limitMs,
  );
  try {
    let length = 0;
    // Whoever stops early still wants to say why: the connection stays for that.
    for await (const part of request.iterator({ destroyOnReturn: false })) {
      length += (part as Buffer).length;
      if (length > most) throw tooLarge();
      yield part as Buffer;
    }
  } finally {
    clearTimeout(late);
  }
}

export async function wholeBody(request: IncomingMessage, limitMs: number, most?: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of bodyOf(request, limitMs, most)) parts.push(part);
  return Buffer.concat(parts);
}

/** PermanentError `bad_request`. */
export async function jsonBody<S extends z.ZodType>(
  request: IncomingMessage,
  schema: S,
  limitMs: number,
  most: number = MAX_JSON_BYTES,
): Promise<z.infer<S>> {
  const bytes = await wholeBody(request, limitMs, most);
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new PermanentError('bad_request', 'The body is not JSON.');
  }
  return checked(schema, value);
}

export function checked<S extends z.ZodType>(schema: S, value: unknown): z.infer<S> {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  throw new PermanentError('bad_request', `${issue?.path.join('.') || 'The request'}: ${issue?.message ?? 'not valid'}.`);
}
