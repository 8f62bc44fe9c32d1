/** Writing a block (right `write`): a session keeps the pool's writer open; the pool's ledger alone decides who may write. */
import { randomBytes } from 'node:crypto';
import {
  CancelledError,
  chunkCount,
  chunkLength,
  isBlockShape,
  MAX_BLOCK_SIZE,
  MIB,
  PermanentError,
  TransientError,
} from '@openservice/domain';
import {
  type BlockWriter,
  DIGEST_BYTES,
  DIGESTS_PAGE,
  DURABLE_PAGE,
  type Item,
  MAX_BATCH_ITEMS,
  type Prepared,
  readItems,
  type StoredChunk,
  type WriteSession,
} from '@openservice/pools';
import { blockMetaSchema } from '@openservice/protocol';
import { z } from 'zod';
import { bodyOf, jsonBody, wholeBody } from './body.ts';
import { type BlockRequest, numberOf, type OpenSession, type Shared } from './context.ts';
import { answer, failureOf, sendBytes, sendJson } from './respond.ts';

const EMPTY = Buffer.alloc(0);

const openBody = z.object({
  size: z.number().int().nonnegative().max(MAX_BLOCK_SIZE),
  /** A chunk must fit into a body. */
  chunk_size: z
    .number()
    .int()
    .positive()
    .max(7 * MIB),
  job_id: z.string().min(1).max(100),
  attempt: z.number().int().positive(),
  fence: z.number().int().nonnegative(),
  meta: blockMetaSchema.nullable().default(null),
  clone_of: z.string().nullable().default(null),
});

/** `demandFrom`: asked before another block is cloned. A session that the same attempt left open is closed first. */
export async function openSession(at: BlockRequest, shared: Shared, demandFrom: (blockId: string) => void): Promise<void> {
  const { pool, poolKey, blockId, signal } = at;
  const body = await jsonBody(at.request, openBody, shared.limits.bodyMs);
  const { size, chunk_size: chunkSize, job_id: jobId, attempt, fence, meta, clone_of: from } = body;
  if (!isBlockShape(size, chunkSize)) throw new PermanentError('bad_request', `chunk_size: too small for ${size} bytes.`);
  if (from !== null) demandFrom(from);
  const session: WriteSession = { blockId, size, chunkSize, jobId, attempt, fence, ...(meta === null ? {} : { meta }) };
  // One after the other: an open whose client is gone must not come after the next, and take the block from it.
  const work = shared.turns.run(`${poolKey} ${blockId}`, async () => {
    if (signal.aborted) throw new CancelledError('The client is gone.');
    await shared.sessions.dropWhere((open) => open.poolKey === poolKey && isSame(open.session, session));
    const writer = from === null ? await pool.openWriter(session, signal) : await pool.openClone(from, session, signal);
    if (writer === null) return { session: null };
    const id = randomBytes(16).toString('hex');
    await shared.sessions.add(id, { poolKey, session, writer });
    return { session: id, durable: durableIn(writer, session), bytes_kept: writer.bytesKept ?? null };
  });
  await answer(at.response, work);
}

/** A bit a chunk from `from` on, the first in the lowest bit. */
export async function durable(at: BlockRequest, id: string, shared: Shared): Promise<void> {
  const from = numberOf(at.query, 'from');
  const page = await withSession(at, id, shared, async ({ writer, session }) => {
    const end = Math.min(chunkCount(session.size, session.chunkSize), from + DURABLE_PAGE);
    const bits = Buffer.alloc(Math.ceil(Math.max(0, end - from) / 8));
    for (let index = from; index < end; index++) {
      if (writer.has(index)) bits[(index - from) >>> 3]! |= 1 << ((index - from) & 7);
    }
    return bits;
  });
  sendBytes(at.response, page);
}

/** Digests in, a byte for each out: 1 where the chunk's bytes are needed. */
export async function missing(at: BlockRequest, id: string, shared: Shared): Promise<void> {
  const bytes = await wholeBody(at.request, shared.limits.bodyMs);
  if (bytes.length % DIGEST_BYTES !== 0 || bytes.length > DIGESTS_PAGE * DIGEST_BYTES) {
    throw new PermanentError('bad_request', `The body is 1 to ${DIGESTS_PAGE} digests of ${DIGEST_BYTES} bytes.`);
  }
  const asked: Buffer[] = [];
  for (let i = 0; i < bytes.length; i += DIGEST_BYTES) asked.push(bytes.subarray(i, i + DIGEST_BYTES));
  const answers = await withSession(at, id, shared, ({ writer }) => writer.missing(asked));
  sendBytes(at.response, Buffer.from(answers.map(Number)));
}

/** Takes items as they arrive; a failure is of its item, by its place in the body. */
export async function putItems(at: BlockRequest, id: string, shared: Shared): Promise<void> {
  const work = withSession(at, id, shared, async ({ writer, session }) => {
    const failed: { at: number; error: unknown }[] = [];
    const puts: Promise<void>[] = [];
    let held = 0;
    const room = async (bytes: number): Promise<void> => {
      await shared.incoming.enter(bytes, at.signal);
      held += bytes;
    };
    try {
      for await (const item of readItems(bodyOf(at.request, shared.limits.bodyMs), room)) {
        if (puts.length === MAX_BATCH_ITEMS)
          throw new PermanentError('bad_batch', `A batch has ${MAX_BATCH_ITEMS} items at most.`);
        const place = puts.length;
        const bytes = held;
        held = 0;
        puts.push(
          putItem(writer, session, item, at.signal, shared)
            .catch((error: unknown) => void failed.push({ at: place, error: failureOf(error) }))
            .finally(() => shared.incoming.leave(bytes)),
        );
      }
    } finally {
      if (held > 0) shared.incoming.leave(held);
      await Promise.all(puts);
    }
    return { failed };
  });
  await answer(at.response, work);
}

export async function checkpoint(at: BlockRequest, id: string, shared: Shared): Promise<void> {
  const work = withSession(at, id, shared, async ({ writer }) => {
    await writer.checkpoint(at.signal);
    return {};
  });
  await answer(at.response, work);
}

export async function prepare(at: BlockRequest, id: string, shared: Shared): Promise<void> {
  const work = withSession(at, id, shared, async ({ writer }) => preparedToWire(await writer.prepare(at.signal)));
  await answer(at.response, work);
}

export async function finish(what: 'commit' | 'abort', at: BlockRequest, id: string, shared: Shared): Promise<void> {
  const work = withSession(at, id, shared, async ({ writer }) => {
    await writer[what](at.signal);
    return {};
  });
  await answer(at.response, work);
}

/** Not there any more: no error. */
export async function closeSession(at: BlockRequest, id: string, shared: Shared): Promise<void> {
  let mine = false;
  await shared.sessions.use(id, async (open) => {
    mine = open.poolKey === at.poolKey && open.session.blockId === at.blockId;
  });
  if (mine)
    await answer(
      at.response,
      shared.sessions.drop(id).then(() => ({})),
    );
  else sendJson(at.response, {});
}

async function putItem(
  writer: BlockWriter,
  session: WriteSession,
  item: Item,
  signal: AbortSignal,
  shared: Shared,
): Promise<void> {
  switch (item.kind) {
    case 'hole':
      return writer.hole(item.index, item.count);
    case 'known':
      return writer.put(item.index, item.digest, EMPTY, signal);
    case 'chunk':
      mustFit(session, item.index, item.chunk);
      if (writer.putStored !== undefined) return writer.putStored(item.index, item.chunk, signal);
      return putDecoded(writer, item.index, item.chunk, signal, shared);
    default:
      throw new PermanentError('bad_batch', 'A batch of chunks to put has an item that is none.');
  }
}

async function putDecoded(
  writer: BlockWriter,
  index: number,
  chunk: StoredChunk,
  signal: AbortSignal,
  { buffers, workers }: Shared,
): Promise<void> {
  await buffers.with(chunk.rawLength, async (buffer) => {
    const plain = buffer.subarray(0, chunk.rawLength);
    const digest = await workers.decode(chunk.bytes, plain, chunk);
    if (!digest.equals(chunk.digest)) {
      throw new PermanentError('damaged_chunk', `Chunk ${index} came with bytes of another digest than its own.`);
    }
    await writer.put(index, digest, plain, signal);
  });
}

function mustFit({ blockId, size, chunkSize }: WriteSession, index: number, chunk: StoredChunk): void {
  const inside = index < chunkCount(size, chunkSize);
  if (!inside) throw new PermanentError('out_of_range', `Block ${blockId} has no chunk ${index}.`);
  const length = chunkLength(size, chunkSize, index);
  if (chunk.rawLength !== length) {
    throw new PermanentError(
      'damaged_chunk',
      `Chunk ${index} of block ${blockId} came with ${chunk.rawLength} bytes; it has ${length}.`,
    );
  }
}

async function withSession<R>(at: BlockRequest, id: string, shared: Shared, work: (open: OpenSession) => Promise<R>): Promise<R> {
  const lost = (): TransientError =>
    new TransientError(
      'session_lost',
      `The pool server has closed this session of block ${at.blockId} (it was restarted, or heard nothing for long); the job goes on from what is durable.`,
    );
  const result = await shared.sessions.use(id, async (open) => {
    if (open.poolKey !== at.poolKey || open.session.blockId !== at.blockId) throw lost();
    return { value: await work(open) };
  });
  if (result === null) throw lost();
  return result.value;
}

function isSame(a: WriteSession, b: WriteSession): boolean {
  return a.blockId === b.blockId && a.jobId === b.jobId && a.attempt === b.attempt && a.fence === b.fence;
}

function durableIn(writer: BlockWriter, { size, chunkSize }: WriteSession): 'all' | 'some' | 'none' {
  const count = chunkCount(size, chunkSize);
  const first = count > 0 && writer.has(0);
  for (let index = 1; index < count; index++) if (writer.has(index) !== first) return 'some';
  return first || count === 0 ? 'all' : 'none';
}

function preparedToWire({ rootDigest, storedBytes }: Prepared): unknown {
  return { root_digest: rootDigest.toString('hex'), stored_bytes: storedBytes };
}
