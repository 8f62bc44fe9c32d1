/**
 * Reading a block (right `read`). The server keeps nothing for a client but a cache of open readers: each request names the block's root
 * digest, and is answered by any reader of just that content.
 */
import { chunkCount, chunkLength, PermanentError } from '@openservice/domain';
import {
  type BlockReader,
  DIGEST_BYTES,
  DIGESTS_PAGE,
  EXTENTS_PAGE,
  encodeChunk,
  type Item,
  isHole,
  MAX_BATCH_ITEMS,
  MAX_READ_BYTES,
  type StoredChunk,
} from '@openservice/pools';
import { z } from 'zod';
import { jsonBody } from './body.ts';
import { type BlockRequest, numberOf, type Shared } from './context.ts';
import { answer, sendBytes, writeItem } from './respond.ts';

/** Chunks of one answer that are read and encoded ahead of the one being sent. */
const AHEAD = 3;

export async function openBlock(at: BlockRequest, shared: Shared): Promise<void> {
  const work = async (): Promise<unknown> => {
    const reader = await at.pool.openReader(at.blockId, at.signal);
    const { size, chunkSize, rootDigest } = reader;
    const root = rootDigest.toString('hex');
    await shared.readers.add(keyOf(at, root), { poolKey: at.poolKey, blockId: at.blockId, reader });
    return { size, chunk_size: chunkSize, root_digest: root, digests: reader.knownDigest !== undefined };
  };
  await answer(at.response, work());
}

export async function extents(at: BlockRequest, shared: Shared): Promise<void> {
  const from = numberOf(at.query, 'from');
  const work = withReader(at, shared, rootOf(at.query), async (reader) => {
    const ranges: [number, number][] = [];
    let next: number | null = null;
    for await (const { first, count } of reader.extents(from, at.signal)) {
      ranges.push([first, count]);
      if (ranges.length === EXTENTS_PAGE) {
        next = first + count;
        break;
      }
    }
    return { ranges, next };
  });
  await answer(at.response, work);
}

export async function digests(at: BlockRequest, shared: Shared): Promise<void> {
  const from = numberOf(at.query, 'from');
  const page = await withReader(at, shared, rootOf(at.query), async (reader) => {
    const end = Math.min(chunkCount(reader.size, reader.chunkSize), from + DIGESTS_PAGE);
    const bytes = Buffer.alloc(Math.max(0, end - from) * DIGEST_BYTES);
    for (let index = from; index < end; index++) {
      const digest = await reader.knownDigest?.(index, at.signal);
      if (digest === undefined || digest === null) throw new PermanentError('digest_unknown', 'This pool does not tell digests.');
      digest.copy(bytes, (index - from) * DIGEST_BYTES);
    }
    return bytes;
  });
  sendBytes(at.response, page);
}

const chunksBody = z.object({
  root_digest: z.string().regex(/^[0-9a-f]{64}$/),
  indexes: z.array(z.number().int().nonnegative()).min(1).max(MAX_BATCH_ITEMS),
});

export async function chunks(at: BlockRequest, shared: Shared): Promise<void> {
  const { root_digest, indexes } = await jsonBody(at.request, chunksBody, shared.limits.bodyMs);
  await withReader(at, shared, root_digest, async (reader) => {
    const sending = new AbortController();
    const signal = AbortSignal.any([at.signal, sending.signal]);
    const ready: Promise<void>[] = [];
    let turn: Promise<void> = Promise.resolve();
    try {
      for (const index of indexes) {
        while (ready.length > AHEAD) await ready.shift();
        const before = turn;
        turn = sendChunk(reader, index, before, { ...at, signal }, shared);
        turn.catch(() => undefined);
        ready.push(turn);
      }
      await turn;
      await writeItem(at.response, { kind: 'end', index: indexes.length }, signal);
      at.response.end();
    } finally {
      sending.abort();
      await Promise.allSettled(ready);
    }
  });
}

export async function bytes(at: BlockRequest, shared: Shared): Promise<void> {
  const [offset, length] = [numberOf(at.query, 'offset'), numberOf(at.query, 'length')];
  if (length < 1 || length > MAX_READ_BYTES) {
    throw new PermanentError('bad_request', `A read has 1 to ${MAX_READ_BYTES} bytes.`);
  }
  await withReader(at, shared, rootOf(at.query), async (reader) => {
    await holding(shared, 2 * length, at.signal, async () => {
      const plain = await reader.read(offset, length, at.signal);
      const digest = await shared.workers.digest(plain);
      await shared.buffers.with(length, async (out) => {
        const item: Item = isHole(digest)
          ? { kind: 'hole', index: 0, count: 1 }
          : { kind: 'chunk', index: 0, chunk: await encodeChunk(shared.workers, digest, plain, out) };
        await writeItem(at.response, item, at.signal);
      });
    });
    await writeItem(at.response, { kind: 'end', index: 1 }, at.signal);
    at.response.end();
  });
}

/** As it is stored, else encoded here; a chunk that is damaged is an item of its own, and the others follow. */
async function sendChunk(
  reader: BlockReader,
  index: number,
  before: Promise<void>,
  at: BlockRequest,
  shared: Shared,
): Promise<void> {
  const send = async (item: Item): Promise<void> => {
    await before;
    await writeItem(at.response, item, at.signal);
  };
  await holding(shared, 2 * reader.chunkSize, at.signal, async () => {
    let stored: StoredChunk | null;
    try {
      stored = (await reader.readStored?.(index, at.signal)) ?? null;
    } catch (error) {
      return send(failureItem(index, error, at.signal));
    }
    if (stored !== null) return send({ kind: 'chunk', index, chunk: stored });
    await sendEncoded(reader, index, send, at, shared);
  });
}

async function sendEncoded(
  reader: BlockReader,
  index: number,
  send: (item: Item) => Promise<void>,
  { signal }: BlockRequest,
  { buffers, workers }: Shared,
): Promise<void> {
  await buffers.with(reader.chunkSize, (buffer) =>
    buffers.with(reader.chunkSize, async (out) => {
      let item: Item;
      try {
        const digest = await reader.readChunk(index, buffer, signal);
        const plain = buffer.subarray(0, chunkLength(reader.size, reader.chunkSize, index));
        item = isHole(digest)
          ? { kind: 'hole', index, count: 1 }
          : { kind: 'chunk', index, chunk: await encodeChunk(workers, digest, plain, out) };
      } catch (error) {
        item = failureItem(index, error, signal);
      }
      await send(item);
    }),
  );
}

function failureItem(index: number, error: unknown, signal: AbortSignal): Item {
  if (signal.aborted) throw error;
  return { kind: 'failure', index, error: error as Error };
}

async function holding<T>({ outgoing }: Shared, bytes: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  await outgoing.enter(bytes, signal);
  try {
    return await work();
  } finally {
    outgoing.leave(bytes);
  }
}

async function withReader<R>(
  at: BlockRequest,
  shared: Shared,
  root: string,
  work: (reader: BlockReader) => Promise<R>,
): Promise<R> {
  const key = keyOf(at, root);
  if (!shared.readers.has(key)) {
    const reader = await at.pool.openReader(at.blockId, at.signal);
    if (reader.rootDigest.toString('hex') !== root) {
      await reader.close();
      throw new PermanentError('block_changed', `Block ${at.blockId} has other content than when it was opened.`);
    }
    await shared.readers.add(key, { poolKey: at.poolKey, blockId: at.blockId, reader });
  }
  let done = false;
  const result = await shared.readers.use(key, async ({ reader }) => {
    done = true;
    return work(reader);
  });
  if (!done) throw new PermanentError('block_not_in_pool', `Block ${at.blockId} was removed while it was read.`);
  return result as R;
}

function rootOf(query: URLSearchParams): string {
  const root = query.get('root_digest') ?? '';
  if (!/^[0-9a-f]{64}$/.test(root)) throw new PermanentError('bad_request', 'The query needs the root_digest of the block.');
  return root;
}

function keyOf({ poolKey, blockId }: BlockRequest, root: string): string {
  return `${poolKey} ${blockId} ${root}`;
}
