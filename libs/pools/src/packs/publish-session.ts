/** What a committed session wrote becomes known to all: its records, read once more, make the index objects. May be repeated. */
import { type Backend, ObjectNotFoundError } from '../backend.ts';
import { isDamaged } from './checked.ts';
import { encodeIndexObject, type IndexObject } from './index-object.ts';
import { fenceOf, indexKey, sessionPrefix } from './keys.ts';
import type { PoolParts } from './open-writing.ts';
import { chunkId } from './pool-mark.ts';
import { decodeSessionRecord, type SessionRecord } from './session-record.ts';

/** Entries of one index object: about 3 MiB. */
const MOST_ENTRIES = 65_536;
/** Records read at once. */
const READING = 8;

/** Records of fences up to `fence`: those of the job's earlier attempts too. */
export async function publishSession(
  { backend, digestKey, cache }: PoolParts,
  blockId: string,
  fence: number,
  signal: AbortSignal,
): Promise<void> {
  let part = 0;
  let index = new IndexBuilder(digestKey);
  const publish = async (): Promise<void> => {
    if (index.empty) return;
    const key = indexKey(blockId, fence, part++);
    await backend.put(key, encodeIndexObject(index.object), signal);
    await cache.add(key, index.object, signal);
    index = new IndexBuilder(digestKey);
  };
  let keys: string[] = [];
  const read = async (): Promise<void> => {
    const records = await Promise.all(keys.map((key) => readRecord(backend, key, signal)));
    keys = [];
    for (const record of records) {
      if (record !== null) index.add(record);
      if (index.object.entries.length >= MOST_ENTRIES) await publish();
    }
  };
  for await (const { key } of backend.list(sessionPrefix(blockId), signal)) {
    if ((fenceOf(key) ?? Number.POSITIVE_INFINITY) > fence) continue;
    if (keys.push(key) === READING) await read();
  }
  await read();
  await publish();
}

/** Null for one that is damaged or gone: its chunks are found by the next collection, which reads the packs themselves. */
async function readRecord(backend: Backend, key: string, signal: AbortSignal): Promise<SessionRecord | null> {
  try {
    return decodeSessionRecord(await backend.get(key, null, signal), key);
  } catch (error) {
    if (error instanceof ObjectNotFoundError || isDamaged(error)) return null;
    throw error;
  }
}

class IndexBuilder {
  readonly object: IndexObject = { packs: [], entries: [], segments: [] };
  readonly #digestKey: Buffer;
  readonly #packs = new Map<string, number>();

  constructor(digestKey: Buffer) {
    this.#digestKey = digestKey;
  }

  get empty(): boolean {
    return this.object.packs.length === 0 && this.object.segments.length === 0;
  }

  /** Only what the session itself wrote: the rest is in the index of who did. */
  add(record: SessionRecord): void {
    const { packs, entries, segments } = this.object;
    const numbers = record.packs.map(({ name, size, own }) => {
      if (!own) return null;
      const hex = name.toString('hex');
      const known = this.#packs.get(hex);
      if (known !== undefined) return known;
      this.#packs.set(hex, packs.length);
      return packs.push({ name, size }) - 1;
    });
    for (const { digest, pack, offset, length } of record.entries) {
      const number = numbers[pack];
      if (number !== undefined && number !== null)
        entries.push({ id: chunkId(this.#digestKey, digest), pack: number, offset, length });
    }
    for (const { own, content, digests, locations } of record.segments) if (own) segments.push({ content, digests, locations });
  }
}
