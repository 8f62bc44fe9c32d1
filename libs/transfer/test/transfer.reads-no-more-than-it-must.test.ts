import { GIB, PermanentError } from '@openservice/domain';
import { HOLE_DIGEST, type StoredChunk } from '@openservice/pools';
import { type TransferSource, transfer } from '@openservice/transfer';
import { expect } from 'chai';
import { CountingSource, RecordingWriter } from './fakes.ts';

const CHUNK = 4096;
const never = new AbortController().signal;
const digestOf = (index: number) => Buffer.alloc(32, (index % 250) + 1);

/** Knows every digest without reading. */
class KnowingSource extends CountingSource implements TransferSource {
  asked = 0;
  holes = new Set<number>();

  async knownDigest(index: number): Promise<Buffer | null> {
    this.asked++;
    return this.holes.has(index) ? HOLE_DIGEST : digestOf(index);
  }
}

/** Also hands out stored chunks of four bytes, but for those that are not stored so. */
class StoredSource extends KnowingSource {
  unstored = new Set<number>();

  async readStored(index: number): Promise<StoredChunk | null> {
    if (this.unstored.has(index)) return null;
    const bytes = Buffer.alloc(4, (index % 250) + 1);
    return { digest: digestOf(index), codec: 1, frames: [4], crcs: [0], bytes, frameSize: CHUNK, rawLength: CHUNK };
  }
}

/** Holds some digests already; `gone` are those that it said it had and then has no more. */
class HoldingWriter extends RecordingWriter {
  held = new Set<number>();
  gone = new Set<number>();
  empty: number[] = [];
  stored: number[] = [];
  questions: number[] = [];

  override async missing(digests: readonly Buffer[]): Promise<boolean[]> {
    this.questions.push(digests.length);
    return digests.map((digest) => !this.held.has(digest[0] ?? 0));
  }

  override async put(index: number, digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void> {
    if (bytes.length > 0) return super.put(index, digest, bytes, signal);
    if (this.gone.has(index)) throw new PermanentError('chunk_bytes_needed', 'Its bytes are needed.');
    this.empty.push(index);
  }

  async putStored(index: number, chunk: StoredChunk): Promise<void> {
    this.stored.push(index);
    this.bytesSent += chunk.bytes.length;
  }
}

describe('transfer of chunks whose digests are known', () => {
  const disk = (Kind: typeof KnowingSource | typeof StoredSource, count = 200) =>
    new Kind(count * CHUNK, CHUNK, [{ first: 0, count }]);

  it('reads nothing that the target has, and asks for many at once', async () => {
    const source = disk(KnowingSource);
    const writer = new HoldingWriter();
    for (let i = 1; i <= 190; i++) writer.held.add(i);
    const { counters } = await transfer({ source, writer, signal: never, window: 4 });
    expect(source.reads).to.have.members([190, 191, 192, 193, 194, 195, 196, 197, 198, 199]);
    expect(writer.empty).to.have.length(190);
    expect(writer.questions).to.deep.equal([200]);
    expect(counters).to.include({ bytesDone: 200 * CHUNK, bytesSkipped: 190 * CHUNK, bytesSent: 10 * CHUNK });
  });

  it('reads a chunk after all that has gone from the target since', async () => {
    const source = disk(KnowingSource, 20);
    const writer = new HoldingWriter();
    for (let i = 1; i <= 20; i++) writer.held.add(i);
    writer.gone.add(7).add(13);
    await transfer({ source, writer, signal: never });
    expect(source.reads).to.have.members([7, 13]);
    expect([...writer.chunks.keys()]).to.have.members([7, 13]);
  });

  it('takes a chunk that is known to be zeros for a hole', async () => {
    const source = disk(KnowingSource, 10);
    source.holes.add(3);
    const writer = new HoldingWriter();
    await transfer({ source, writer, signal: never });
    expect(writer.holes).to.deep.equal([{ first: 3, count: 1 }]);
    expect(source.reads).to.not.include(3);
  });

  it('passes stored chunks on as they are, and reads those that are not stored so', async () => {
    const source = disk(StoredSource) as StoredSource;
    source.unstored.add(5).add(150);
    const writer = new HoldingWriter();
    for (let i = 1; i <= 100; i++) writer.held.add(i);
    const { counters } = await transfer({ source, writer, signal: never });
    expect(writer.empty).to.have.length(100);
    expect(writer.stored).to.have.length(99);
    expect(source.reads).to.deep.equal([150]);
    expect(counters).to.include({ bytesDone: 200 * CHUNK, bytesSkipped: 100 * CHUNK, bytesSent: 99 * 4 + CHUNK });
  });

  it('counts stored bytes against the bandwidth, not what they decode to', async () => {
    const source = disk(StoredSource);
    const begun = performance.now();
    // 800 KiB raw would take more than 3 s; stored it is 800 bytes.
    await transfer({ source, writer: new HoldingWriter(), signal: never, window: 1, bandwidth: 200 * 1024 });
    expect(performance.now() - begun).to.be.below(1000);
  });

  it('leaves alone what stands in the target already, chunk by chunk', async () => {
    for (const source of [disk(KnowingSource), new CountingSource(200 * CHUNK, CHUNK, [{ first: 0, count: 200 }])]) {
      const writer = Object.assign(new HoldingWriter(), {
        holds: async (index: number, digest: Buffer) => {
          expect(digest.equals(digestOf(index))).to.equal(true);
          return index % 10 !== 0;
        },
      });
      const { counters } = await transfer({ source, writer, signal: never });
      expect([...writer.chunks.keys()]).to.have.length(20);
      expect(counters).to.include({ bytesDone: 200 * CHUNK, bytesSkipped: 180 * CHUNK });
      expect(source.reads).to.have.length(source instanceof KnowingSource ? 20 : 200);
    }
  });

  it('is not taken for stalled while the source works and hands out nothing', async () => {
    const source = Object.assign(disk(KnowingSource, 3), { activity: 0 });
    const { promise, resolve } = Promise.withResolvers<void>();
    let turns = 0;
    const timer = setInterval(() => {
      source.activity++;
      if (++turns === 40) resolve();
    }, 5);
    source.onRead = () => promise;
    await transfer({ source, writer: new HoldingWriter(), signal: never, stallLimit: 60 });
    clearInterval(timer);
    expect(turns).to.be.at.least(40);
  });

  it('ends when asking ahead fails, with that error', async () => {
    const source = disk(KnowingSource);
    source.knownDigest = async (index) => {
      if (index === 40) throw new PermanentError('damaged_manifest', 'The manifest is damaged.');
      return digestOf(index);
    };
    const error: unknown = await transfer({ source, writer: new HoldingWriter(), signal: never }).catch((e: unknown) => e);
    expect(error).to.include({ code: 'damaged_manifest' });
  });

  it('passes over a disk of 100 GiB that the target has in little time', async () => {
    const count = 100 * 1024;
    const source = new KnowingSource(100 * GIB, GIB / 1024, [{ first: 0, count }]);
    const writer = new HoldingWriter();
    for (let i = 1; i <= 250; i++) writer.held.add(i);
    const begun = performance.now();
    await transfer({ source, writer, signal: never, window: 8, onProgress: () => {} });
    const microseconds = ((performance.now() - begun) / count) * 1000;
    expect(writer.empty).to.have.length(count);
    // Some 5 µs on an idle machine; the limit is for one that is not.
    expect(microseconds).to.be.below(100);
  });
});
