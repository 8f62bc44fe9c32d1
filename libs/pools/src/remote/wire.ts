/**
 * What pool server and `remote` driver share of the wire (docs/pool-protocol.md): limits, and items, of which batches of chunks consist.
 *
 * Item: kind u8, 3 bytes zero, bytes of its body u32, index u64 (all little endian), body.
 */
import { MIB, PermanentError } from '@openservice/domain';
import { DIGEST_BYTES } from '../manifest.ts';
import { readFrameTable, readRecordHead, recordPrefixBytes, writeRecord } from '../packs/record.ts';
import type { StoredChunk } from '../pool.ts';
import { failureFromWire, failureToWire } from './failure.ts';

/** Bytes of a request's body, and of an item. */
export const MAX_BODY_BYTES = 8 * MIB;
/** Chunks asked for, or items put, by one request. */
export const MAX_BATCH_ITEMS = 64;
/** Digests in one answer, or in one question what is missing. */
export const DIGESTS_PAGE = 4096;
/** Ranges in one answer. */
export const EXTENTS_PAGE = 4096;
/** Chunks of which one answer tells whether they are durable. */
export const DURABLE_PAGE = 1 << 20;
/** Bytes of one small read. */
export const MAX_READ_BYTES = 4 * MIB;

export const ITEM_HEAD_BYTES = 16;
const KINDS = { chunk: 1, known: 2, hole: 3, failure: 4, end: 5 } as const;

export type Item =
  | { kind: 'chunk'; index: number; chunk: StoredChunk }
  /** A chunk that the target said it has. */
  | { kind: 'known'; index: number; digest: Buffer }
  | { kind: 'hole'; index: number; count: number }
  | { kind: 'failure'; index: number; error: Error }
  /** Last of an answer: nothing was cut off. `index`: items before it. */
  | { kind: 'end'; index: number };

/** The item's bytes in parts; a chunk's payload is not copied. */
export function encodeItem(item: Item): Buffer[] {
  switch (item.kind) {
    case 'chunk':
      return encodeChunkItem(item.index, item.chunk);
    case 'known':
      return [itemHead(KINDS.known, DIGEST_BYTES, item.index), item.digest];
    case 'hole': {
      const count = Buffer.alloc(8);
      count.writeBigUInt64LE(BigInt(item.count));
      return [itemHead(KINDS.hole, count.length, item.index), count];
    }
    case 'failure': {
      const text = Buffer.from(JSON.stringify(failureToWire(item.error)));
      return [itemHead(KINDS.failure, text.length, item.index), text];
    }
    case 'end':
      return [itemHead(KINDS.end, 0, item.index)];
  }
}

export function itemBytes(item: Item): number {
  return encodedLength(encodeItem(item));
}

export function encodedLength(parts: readonly Buffer[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

/**
 * Items as they arrive. `room`: asked before the memory for an item's body is taken, with its bytes; whoever takes the item gives it back.
 * PermanentError `bad_batch` for what is no item, or is cut off in the middle of one.
 */
export async function* readItems(
  source: AsyncIterable<Uint8Array>,
  room: (bytes: number) => Promise<void> = async () => {},
): AsyncGenerator<Item> {
  const head = Buffer.alloc(ITEM_HEAD_BYTES);
  let headFilled = 0;
  let body: Buffer | null = null;
  let bodyFilled = 0;
  for await (const part of source) {
    for (let at = 0; at < part.byteLength; ) {
      if (body === null) {
        const some = part.subarray(at, at + ITEM_HEAD_BYTES - headFilled);
        head.set(some, headFilled);
        headFilled += some.byteLength;
        at += some.byteLength;
        if (headFilled < ITEM_HEAD_BYTES) break;
        const length = head.readUInt32LE(4);
        if (length > MAX_BODY_BYTES) throw badBatch(`an item of ${length} bytes`);
        await room(length);
        body = Buffer.allocUnsafe(length);
        bodyFilled = 0;
      } else if (bodyFilled < body.length) {
        const some = part.subarray(at, at + body.length - bodyFilled);
        body.set(some, bodyFilled);
        bodyFilled += some.byteLength;
        at += some.byteLength;
      }
      if (bodyFilled === body.length) {
        const whole = body;
        body = null;
        headFilled = 0;
        yield decodeItem(head, whole);
      }
    }
  }
  if (headFilled > 0) throw badBatch('its end in the middle of an item');
}

function encodeChunkItem(index: number, chunk: StoredChunk): Buffer[] {
  const prefix = recordPrefixBytes(chunk.frames.length, false);
  const head = Buffer.alloc(ITEM_HEAD_BYTES + prefix);
  itemHead(KINDS.chunk, prefix + chunk.bytes.length, index).copy(head);
  // There is room for the record's head alone, so the payload is not copied: it is sent from where it lies.
  writeRecord(head, ITEM_HEAD_BYTES, chunk.digest, chunk.rawLength, chunk.frameSize, chunk, null);
  return [head, chunk.bytes];
}

function itemHead(kind: number, length: number, index: number): Buffer {
  const head = Buffer.alloc(ITEM_HEAD_BYTES);
  head.writeUInt8(kind, 0);
  head.writeUInt32LE(length, 4);
  head.writeBigUInt64LE(BigInt(index), 8);
  return head;
}

function decodeItem(head: Buffer, body: Buffer): Item {
  const index = Number(head.readBigUInt64LE(8));
  if (!Number.isSafeInteger(index)) throw badBatch('an index that is too large');
  switch (head.readUInt8(0)) {
    case KINDS.chunk:
      return { kind: 'chunk', index, chunk: decodeRecord(body) };
    case KINDS.known:
      if (body.length !== DIGEST_BYTES) break;
      return { kind: 'known', index, digest: body };
    case KINDS.hole: {
      const count = body.length === 8 ? Number(body.readBigUInt64LE(0)) : Number.NaN;
      if (!Number.isSafeInteger(count)) break;
      return { kind: 'hole', index, count };
    }
    case KINDS.failure:
      return { kind: 'failure', index, error: failureFromWire(parseJson(body)) };
    case KINDS.end:
      if (body.length !== 0) break;
      return { kind: 'end', index };
  }
  throw badBatch('an item of a kind or length that this version does not know');
}

function decodeRecord(record: Buffer): StoredChunk {
  const { codec, sealed, id, rawLength, frameSize, frameCount, payloadLength } = readRecordHead(record);
  const prefix = recordPrefixBytes(frameCount, false);
  if (sealed || record.length !== prefix + payloadLength) throw badBatch('a chunk record whose lengths contradict each other');
  const table = readFrameTable(record, { codec, sealed, id, rawLength, frameSize, frameCount, payloadLength });
  return { codec, ...table, digest: id, frameSize, rawLength, bytes: record.subarray(prefix) };
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    throw badBatch('a failure that is not JSON');
  }
}

function badBatch(what: string): PermanentError {
  return new PermanentError('bad_batch', `A batch of chunks has ${what}.`);
}
