import { randomBytes } from 'node:crypto';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { createChunkWorkers, roomToEncode, sharedBuffer } from '@openservice/codec';
import { PermanentError, TransientError } from '@openservice/domain';
import { expect } from 'chai';

const KIB = 1024;
const FRAMES = { frameSize: 64 * KIB, level: 1 };

describe('chunk workers', () => {
  const workers = createChunkWorkers({ threads: 2 });
  after(() => workers.close());

  const places: [string, (bytes: Buffer) => Buffer][] = [
    ['shared memory', shareOf],
    ['ordinary memory', (bytes) => Buffer.from(bytes)],
  ];

  it('digest as the published BLAKE3 test vectors say', async () => {
    // github.com/BLAKE3-team/BLAKE3, test_vectors.json: input bytes repeat 0…250.
    expect((await workers.digest(Buffer.alloc(0))).toString('hex')).to.equal('0'.repeat(64));
    expect((await workers.digest(vector(1023))).toString('hex')).to.equal(
      '10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11',
    );
    expect((await workers.digest(vector(1025))).toString('hex')).to.equal(
      'd00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444',
    );
  });

  it('give zeros of any length the hole digest, and one bit at the end a real one', async () => {
    for (const length of [1, 4095, 65536, 65537, 1024 * KIB]) {
      const bytes = sharedBuffer(length);
      expect((await workers.digest(bytes)).equals(Buffer.alloc(32)), `${length} zeros`).to.equal(true);
      bytes[length - 1] = 1;
      expect((await workers.digest(bytes)).equals(Buffer.alloc(32)), `${length} with a bit`).to.equal(false);
    }
  });

  for (const [name, place] of places) {
    it(`return the same bytes and digest after encode and decode in ${name}`, async () => {
      const plain = place(Buffer.alloc(300 * KIB + 5, 'all work and no play '));
      const out = place(Buffer.alloc(plain.length));
      const encoded = await workers.encode(plain, out, FRAMES);
      expect(encoded.codec).to.equal(1);
      expect(encoded.frames).to.have.length(5);
      expect(encoded.bytes.length).to.be.lessThan(plain.length / 10);
      expect(encoded.bytes.buffer).to.equal(out.buffer);
      const target = place(Buffer.alloc(plain.length));
      const digest = await workers.decode(place(encoded.bytes), target, { ...FRAMES, ...encoded, rawLength: plain.length });
      expect(target.equals(plain)).to.equal(true);
      expect(digest.equals(await workers.digest(plain))).to.equal(true);
    });

    for (const [what, plain] of [
      ['text', Buffer.alloc(300 * KIB + 5, 'all work and no play ')],
      ['noise', randomBytes(200 * KIB + 3)],
    ] as const) {
      it(`seal ${what} so that only its own key, id and place open it, in ${name}`, async () => {
        const seal = { key: randomBytes(32), aad: randomBytes(32) };
        const out = place(Buffer.alloc(roomToEncode(plain.length, { ...FRAMES, seal })));
        const encoded = await workers.encode(place(plain), out, { ...FRAMES, seal });
        const layout = { ...FRAMES, ...encoded, rawLength: plain.length };
        const target = place(Buffer.alloc(plain.length));
        const digest = await workers.decode(place(encoded.bytes), target, { ...layout, seal });
        expect(target.equals(plain)).to.equal(true);
        expect(digest.equals(await workers.digest(Buffer.from(plain)))).to.equal(true);
        // One frame from the middle, as a small read fetches it.
        const [skip, length] = [encoded.frames[0]!, encoded.frames[1]!];
        const one = { ...layout, frames: [length], crcs: [encoded.crcs[1]!], rawLength: 64 * KIB };
        const part = place(Buffer.alloc(64 * KIB));
        const frame = place(encoded.bytes.subarray(skip, skip + length));
        await workers.decode(frame, part, { ...one, seal: { ...seal, firstFrame: 1 } });
        expect(part.equals(plain.subarray(64 * KIB, 128 * KIB))).to.equal(true);
        for (const wrong of [{ key: randomBytes(32) }, { aad: randomBytes(32) }, { firstFrame: 1 }]) {
          const failed = await workers
            .decode(place(encoded.bytes), target, { ...layout, seal: { ...seal, ...wrong } })
            .catch((e) => e);
          expect(failed).to.be.instanceOf(PermanentError).with.property('code', 'damaged_chunk');
        }
        expect(encoded.bytes.includes('all work'), 'no plain text').to.equal(false);
      });
    }

    it(`keep what does not shrink as it is in ${name}`, async () => {
      const plain = place(randomBytes(200 * KIB));
      const encoded = await workers.encode(plain, place(Buffer.alloc(plain.length)), FRAMES);
      expect(encoded.codec).to.equal(0);
      expect(encoded.frames).to.deep.equal([64 * KIB, 64 * KIB, 64 * KIB, 8 * KIB]);
      expect(encoded.bytes.equals(plain)).to.equal(true);
      const target = place(Buffer.alloc(plain.length));
      await workers.decode(encoded.bytes, target, { ...FRAMES, ...encoded, rawLength: plain.length });
      expect(target.equals(plain)).to.equal(true);
    });
  }

  it('tell a flipped bit of a part by its CRC32C, of a whole chunk by another digest at the latest', async () => {
    const plain = randomBytes(128 * KIB);
    const encoded = await workers.encode(plain, Buffer.alloc(plain.length), FRAMES);
    const layout = { ...FRAMES, ...encoded, rawLength: plain.length };
    const target = Buffer.alloc(plain.length);
    const flipped = Buffer.from(encoded.bytes);
    flipped[9]! ^= 1;
    await expectDamaged(workers.decode(flipped, target, { ...layout, part: true }));
    const whole = await workers.decode(flipped, target, layout);
    expect(whole.equals(await workers.digest(plain))).to.equal(false);
  });

  it('answer damaged_chunk for a frame that cannot be opened, a cut frame and a wrong length', async () => {
    const plain = Buffer.alloc(128 * KIB, 'the quick brown fox ');
    const encoded = await workers.encode(plain, Buffer.alloc(plain.length), FRAMES);
    const layout = { ...FRAMES, ...encoded, rawLength: plain.length };
    const target = Buffer.alloc(plain.length);
    const flipped = Buffer.from(encoded.bytes);
    flipped[9]! ^= 1;
    await expectDamaged(workers.decode(flipped, target, layout));
    await expectDamaged(workers.decode(encoded.bytes.subarray(0, -1), target, layout));
    await expectDamaged(workers.decode(encoded.bytes, target, { ...layout, rawLength: plain.length - 1 }));
  });

  it('read what the kernel has in memory and digest it; answer null past the end of the file and for memory that is not shared', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'openservice-codec-'));
    const bytes = randomBytes(96 * KIB);
    await writeFile(join(dir, 'file'), bytes);
    const handle = await open(join(dir, 'file'), 'r');
    try {
      const target = sharedBuffer(64 * KIB);
      const digest = await workers.digestCached(handle.fd, 10, target);
      // A filesystem that cannot tell answers null, too: then nothing is to be compared.
      if (digest !== null) {
        expect(target.equals(bytes.subarray(10, 10 + 64 * KIB))).to.equal(true);
        expect(digest.equals(await workers.digest(target))).to.equal(true);
      }
      expect(await workers.digestCached(handle.fd, 40 * KIB, target)).to.equal(null);
      expect(await workers.digestCached(handle.fd, 0, Buffer.alloc(64 * KIB))).to.equal(null);
    } finally {
      await handle.close();
      await rm(dir, { recursive: true });
    }
  });

  it('carry shared memory of many buffers, dropped ones among them, to each thread', async () => {
    for (let round = 0; round < 50; round++) {
      const buffers = Array.from({ length: 20 }, (_, i) => {
        const buffer = sharedBuffer(4 * KIB);
        buffer.fill(`${round}-${i};`);
        return buffer;
      });
      const digests = await Promise.all(buffers.map((buffer) => workers.digest(buffer)));
      const again = await Promise.all(buffers.map((buffer) => workers.digest(Buffer.from(buffer))));
      expect(digests.every((digest, i) => digest.equals(again[i]!))).to.equal(true);
    }
  });

  it('answer every one of many calls at once', async () => {
    const chunks = Array.from({ length: 200 }, (_, i) => Buffer.alloc(1000, `chunk ${i};`));
    const digests = await Promise.all(chunks.map((chunk) => workers.digest(chunk)));
    expect(new Set(digests.map((digest) => digest.toString('hex'))).size).to.equal(200);
  });

  it('fail what a thread that died had in hand, and go on with a new thread', async () => {
    const own = createChunkWorkers({ threads: 1 });
    const started = new Promise<Worker>((resolve) => process.once('worker', resolve));
    const call = own.digest(sharedBuffer(64 * 1024 * KIB)).catch((error: unknown) => error);
    await (await started).terminate();
    const error = await call;
    expect(error).to.be.instanceOf(TransientError);
    expect((error as TransientError).code).to.equal('worker_died');
    expect((await own.digest(Buffer.alloc(3))).length).to.equal(32);
    await own.close();
  });

  it('refuse work after close, and fail what was waiting', async () => {
    const own = createChunkWorkers({ threads: 1 });
    const calls = Array.from({ length: 8 }, () => own.digest(sharedBuffer(1024 * KIB)).then(String, (e) => e.code));
    await own.close();
    expect(await Promise.all(calls)).to.include('cancelled');
    expect(await own.digest(Buffer.alloc(1)).catch((e) => e.code)).to.equal('cancelled');
  });
});

function shareOf(bytes: Buffer): Buffer {
  const copy = sharedBuffer(bytes.length);
  bytes.copy(copy);
  return copy;
}

function vector(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => i % 251));
}

async function expectDamaged(call: Promise<unknown>): Promise<void> {
  const error = await call.then(
    () => null,
    (e: unknown) => e,
  );
  expect(error).to.be.instanceOf(PermanentError);
  expect((error as PermanentError).code).to.equal('damaged_chunk');
}
