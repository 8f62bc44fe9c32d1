/** Items of the pool protocol: whole again however they are cut, and refused when they are damaged. */
import { createChunkWorkers } from '@openservice/codec';
import { CancelledError, FencedError, OpenServiceError, PermanentError, TransientError } from '@openservice/domain';
import { encodeChunk, encodeItem, failureToWire, HOLE_DIGEST, type Item, readItems } from '@openservice/pools';
import { expect } from 'chai';
import { chunkBytes, digestOf } from './conformance/content.ts';

const BLOCK = { size: 1_000_000, chunkSize: 262_144, data: new Set([0]) };

async function* cut(bytes: Buffer, length: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

async function collect(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function codeOf(items: AsyncIterable<Item>): Promise<string> {
  return collect(items).then(
    () => 'fine',
    (error: unknown) => (error instanceof OpenServiceError ? error.code : String(error)),
  );
}

describe('items of the pool protocol', () => {
  const workers = createChunkWorkers({ threads: 1 });
  after(() => workers.close());
  const plain = chunkBytes(BLOCK, 0);
  const items = async (): Promise<Item[]> => [
    { kind: 'chunk', index: 2 ** 34 + 7, chunk: await encodeChunk(workers, digestOf(plain), plain) },
    { kind: 'known', index: 1, digest: digestOf(plain) },
    { kind: 'hole', index: 0, count: 2 ** 40 },
    { kind: 'failure', index: 3, error: new PermanentError('damaged_chunk', 'It is damaged.') },
    { kind: 'end', index: 4 },
  ];

  it('are whole again, wherever the network cuts them', async () => {
    const sent = await items();
    const bytes = Buffer.concat(sent.flatMap(encodeItem));
    for (const length of [1, 7, 16, 4096, bytes.length]) {
      const got = await collect(readItems(cut(bytes, length)));
      expect(got.map(({ kind, index }) => [kind, index])).to.deep.equal(sent.map(({ kind, index }) => [kind, index]));
      const [chunk, known, hole, failure] = got;
      if (chunk?.kind !== 'chunk' || known?.kind !== 'known' || hole?.kind !== 'hole' || failure?.kind !== 'failure')
        throw new Error('kinds');
      const back = Buffer.alloc(plain.length);
      expect((await workers.decode(chunk.chunk.bytes, back, chunk.chunk)).equals(chunk.chunk.digest)).to.equal(true);
      expect(back.equals(plain)).to.equal(true);
      expect(known.digest.equals(digestOf(plain))).to.equal(true);
      expect(hole.count).to.equal(2 ** 40);
      expect(failure.error).to.be.instanceOf(PermanentError).with.property('code', 'damaged_chunk');
    }
    expect(await collect(readItems(cut(Buffer.alloc(0), 1)))).to.deep.equal([]);
  });

  it('are refused when cut off at any byte but the end of one', async () => {
    const [chunk, known] = (await items()).map((item) => Buffer.concat(encodeItem(item)));
    const bytes = Buffer.concat([known!, chunk!]);
    for (const end of [1, 15, 16, 17, known!.length - 1, known!.length + 1, bytes.length - 1]) {
      expect(await codeOf(readItems(cut(bytes.subarray(0, end), 5))), `${end} bytes`).to.equal('bad_batch');
    }
    expect(await codeOf(readItems(cut(bytes.subarray(0, known!.length), 5)))).to.equal('fine');
  });

  it('are refused with any bit of a head wrong, and the payload with any bit wrong fails to decode', async () => {
    const [item] = await items();
    const good = Buffer.concat(encodeItem(item!));
    for (let at = 16; at < 80; at++) {
      const bad = Buffer.from(good);
      bad[at]! ^= 0x10;
      expect(await codeOf(readItems(cut(bad, 1000))), `byte ${at}`).to.be.oneOf(['damaged_chunk', 'unknown_format', 'bad_batch']);
    }
    const bad = Buffer.from(good);
    bad[bad.length - 5]! ^= 1;
    const [damaged] = await collect(readItems(cut(bad, 1000)));
    if (damaged?.kind !== 'chunk') throw new Error('not a chunk');
    const decoded = workers.decode(damaged.chunk.bytes, Buffer.alloc(plain.length), damaged.chunk);
    expect(await decoded.catch((error: OpenServiceError) => error.code)).to.equal('damaged_chunk');
  });

  it('never take memory for what a head only claims', async () => {
    const head = Buffer.alloc(16);
    head.writeUInt8(1, 0);
    head.writeUInt32LE(8 * 1024 * 1024 + 1, 4);
    let asked = 0;
    const room = async (): Promise<void> => {
      asked++;
    };
    expect(await codeOf(readItems(cut(head, 16), room))).to.equal('bad_batch');
    expect(asked).to.equal(0);
  });

  it('carry each kind of failure as what it is', async () => {
    for (const error of [
      new PermanentError('no_space', 'The disk is full.'),
      new TransientError('slow_down', 'Later.'),
      new FencedError('A newer attempt owns it.'),
      new CancelledError('Stopped.'),
    ]) {
      const bytes = Buffer.concat(encodeItem({ kind: 'failure', index: 0, error }));
      const [item] = await collect(readItems(cut(bytes, 9)));
      if (item?.kind !== 'failure') throw new Error('not a failure');
      expect(item.error.constructor).to.equal(error.constructor);
      expect(failureToWire(item.error)).to.deep.equal(failureToWire(error));
    }
    expect(HOLE_DIGEST.length).to.equal(32);
  });
});
