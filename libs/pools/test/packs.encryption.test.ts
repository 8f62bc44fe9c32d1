import { randomBytes } from 'node:crypto';
import { blake3 } from '@napi-rs/blake-hash';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { type OpenServiceError, PermanentError } from '@openservice/domain';
import { expect } from 'chai';
import { readPackIndex } from '../src/packs/pack.ts';
import type { Pool } from '../src/pool.ts';
import { CHUNK, fill, PackedPool } from './support/packed-pool.ts';

const signal = new AbortController().signal;
const SECRET = 'the accounts of last year';
const caught = (promise: Promise<unknown>): Promise<OpenServiceError> =>
  promise.then(
    () => {
      throw new Error('it should have failed');
    },
    (error: OpenServiceError) => error,
  );

/** Some compress, some do not; each says what must not be found. */
const chunks = Array.from({ length: 6 }, (_, i) => {
  const bytes = i % 2 === 0 ? randomBytes(CHUNK) : Buffer.alloc(CHUNK, `${i}`);
  bytes.write(`${SECRET} ${i}`, 100);
  return bytes;
});

describe('an encrypted packs pool', function () {
  this.timeout(20_000);
  let workers: ChunkWorkers;
  before(() => {
    workers = createChunkWorkers({ threads: 1 });
  });
  after(() => workers.close());

  const open = (place: PackedPool, encryptionKey: string | null): Pool => place.node({ workers, encryptionKey });
  const written = async (encryptionKey: string | null): Promise<{ place: PackedPool; rootDigest: Buffer }> => {
    const place = new PackedPool();
    const pool = open(place, encryptionKey);
    await pool.probe({ create: true }, signal);
    const meta = {
      name: 'ledger-of-smith',
      set_id: null,
      set_name: 'the-smith-estate',
      parent_block_id: null,
      created_at: '2026-11-24T00:00:00Z',
    };
    const writer = await pool.openWriter({ ...place.session('block-1', chunks.length), meta }, signal);
    await fill(writer, chunks);
    await writer.checkpoint(signal);
    const { rootDigest } = await writer.prepare(signal);
    await writer.commit(signal);
    await writer.close();
    // A session that is open, with records of what it did.
    const second = await pool.openWriter(place.session('block-2', chunks.length), signal);
    await fill(second, chunks.slice(0, 4));
    await second.checkpoint(signal);
    await second.close();
    return { place, rootDigest };
  };
  const key = (): string => randomBytes(32).toString('hex');

  it('reads back, and shows a stranger neither content, names nor digests', async () => {
    const poolKey = key();
    const { place, rootDigest } = await written(poolKey);
    const needles: Buffer[] = [SECRET, 'ledger-of-smith', 'the-smith-estate', poolKey].map((text) => Buffer.from(text));
    for (const digest of [rootDigest, ...chunks.map((bytes) => blake3(bytes))]) {
      needles.push(digest, Buffer.from(digest.toString('hex')));
    }
    needles.push(Buffer.from(poolKey, 'hex'), chunks[0]!.subarray(1000, 1032));
    const kinds = new Set<string>();
    for (const name of await place.keys('')) {
      kinds.add(name.split('/')[0]!);
      const bytes = Buffer.concat([Buffer.from(name), await place.backend.get(name, null, signal)]);
      for (const needle of needles) expect(bytes.includes(needle), `${name} tells ${needle.toString('latin1')}`).to.equal(false);
    }
    expect([...kinds].sort()).to.deep.equal(['blocks', 'index', 'packs', 'pool.json', 'segments', 'sessions']);
    // The same search finds all of it in a pool that is not encrypted: it would be seen.
    const plain = await written(null);
    const all = Buffer.concat(
      await Promise.all((await plain.place.keys('')).map((name) => plain.place.backend.get(name, null, signal))),
    );
    expect(
      all.includes(Buffer.from(SECRET)) && all.includes(Buffer.from('ledger-of-smith')) && all.includes(rootDigest),
    ).to.equal(true);
    const found = await place.read('block-1', open(place, poolKey));
    for (const [index, got] of found.entries()) expect(chunks[index]!.equals(got as Buffer)).to.equal(true);
    expect((await open(place, poolKey).stat('block-1', signal))?.meta?.name).to.equal('ledger-of-smith');
  });

  it('is refused with another key, and with none; a pool that is not encrypted, with one', async () => {
    const { place } = await written(key());
    const { place: plain } = await written(null);
    for (const pool of [open(place, key()), open(place, null), open(plain, key())]) {
      for (const use of [
        pool.probe({ create: false }, signal),
        pool.probe({ create: true }, signal),
        pool.openReader('block-1', signal),
        pool.openWriter(place.session('block-3', 1), signal),
        pool.collect({ jobId: 'gc' }, signal),
      ]) {
        expect(await caught(use))
          .to.be.instanceOf(PermanentError)
          .with.property('code', 'wrong_pool_key');
      }
    }
    expect((await caught(Promise.resolve().then(() => open(place, 'abc')))).code).to.equal('wrong_pool_key');
  });

  it('shares no id of a chunk with a pool of another key', async () => {
    const ids = async (place: PackedPool): Promise<string[]> => {
      const packs = await Promise.all((await place.keys('packs/')).map((name) => place.backend.get(name, null, signal)));
      return packs.flatMap((pack) => readPackIndex(pack).map(({ id }) => id.toString('hex')));
    };
    const poolKey = key();
    const [one, same, other] = [await written(poolKey), await written(poolKey), await written(key())];
    expect((await ids(one.place)).sort()).to.deep.equal((await ids(same.place)).sort());
    const known = new Set(await ids(one.place));
    expect((await ids(other.place)).some((id) => known.has(id))).to.equal(false);
    // Not even the same bytes twice: each record has a key of its own.
    const [a, b] = await Promise.all(
      [one, same].map(async ({ place }) => place.backend.get((await place.keys('packs/'))[0]!, null, signal)),
    );
    expect(a!.subarray(200, 400).equals(b!.subarray(200, 400))).to.equal(false);
  });

  it('is not taken in by objects that were changed or swapped', async () => {
    const poolKey = key();
    for (const kind of ['manifest', 'ledger', 'segments']) {
      const { place } = await written(poolKey);
      const names = (await place.keys('')).filter((name) =>
        name.startsWith('segments/') ? kind === 'segments' : name.startsWith('blocks/block-1/') && name.includes(`/${kind}`),
      );
      expect(names).not.to.deep.equal([]);
      const kept = await Promise.all(names.map((name) => place.backend.get(name, null, signal)));
      for (const name of names) await place.flip(name, 45);
      const reading = (): Promise<unknown> =>
        place.read('block-1', open(place, poolKey)).then((found) => {
          if (found[0] instanceof Error) throw found[0];
        });
      expect((await caught(reading())).code).to.match(/^damaged_/);
      expect((await open(place, poolKey).collect({ jobId: 'gc', waitLimit: 0 }, signal)).damaged[0]?.blockId).to.equal('block-1');
      for (const [i, name] of names.entries()) await place.backend.put(name, kept[(i + 1) % kept.length]!, signal);
      if (names.length > 1) expect((await caught(reading())).code).to.match(/^damaged_/);
      for (const [i, name] of names.entries()) await place.backend.put(name, kept[i]!, signal);
      await reading();
    }
  });

  it('finds a record that was put in the place of another, its checksums all in order', async () => {
    const poolKey = key();
    const { place } = await written(poolKey);
    const { key: name } = await place.onlyPack();
    const pack = await place.backend.get(name, null, signal);
    const [one, other] = readPackIndex(pack).filter(({ codec }) => codec === 0);
    expect(one!.length).to.equal(other!.length);
    const record = Buffer.from(pack.subarray(one!.offset, one!.offset + one!.length));
    pack.copy(pack, one!.offset, other!.offset, other!.offset + other!.length);
    record.copy(pack, other!.offset);
    await place.backend.put(name, pack, signal);
    const found = await place.read('block-1', open(place, poolKey));
    expect(found.filter((got) => got instanceof Error).map((error) => (error as OpenServiceError).code)).to.deep.equal([
      'damaged_chunk',
      'damaged_chunk',
    ]);
  });
});
