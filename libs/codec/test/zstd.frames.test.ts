import { randomBytes } from 'node:crypto';
import { sharedBuffer } from '@openservice/codec';
import { expect } from 'chai';
import { carriedZstd, type Zstd, zlibZstd } from '../src/zstd.ts';

const ROOM = 128 * 1024;
const text = Buffer.from('some words that come again and again; '.repeat(3000));
const noise = randomBytes(100_000);

const kinds: [string, Zstd | null][] = [
  ["Node's own zstd", carriedZstd()],
  ['node:zlib', zlibZstd()],
];

describe('zstd from buffer to buffer', () => {
  for (const [name, zstd] of kinds) {
    describe(`by ${name}`, () => {
      before(function () {
        // Node of a distribution may be linked to a zstd of its own, which is not looked into.
        if (zstd === null) this.skip();
      });

      it('gives back what went in, through shared memory, and touches nothing past the end', () => {
        for (const plain of [text, noise, Buffer.alloc(0), Buffer.from('x')]) {
          const frame = sharedBuffer(ROOM);
          const length = zstd?.compress(plain, frame, 1) ?? -1;
          expect(length).to.be.greaterThan(0);
          const back = sharedBuffer(plain.length + 1).fill(7);
          expect(zstd?.decompress(frame.subarray(0, length), back.subarray(0, plain.length))).to.equal(plain.length);
          expect(back.subarray(0, plain.length).equals(plain)).to.equal(true);
          expect(back[plain.length]).to.equal(7);
        }
      });

      it('says null where the output does not fit, and writes nothing past it', () => {
        const frame = Buffer.alloc(ROOM, 7);
        expect(zstd?.compress(noise, frame.subarray(0, noise.length - 1), 1)).to.equal(null);
        expect(frame.subarray(noise.length - 1).every((byte) => byte === 7)).to.equal(true);
        const length = zstd?.compress(text, frame, 1) ?? 0;
        const back = Buffer.alloc(text.length, 7);
        expect(zstd?.decompress(frame.subarray(0, length), back.subarray(0, text.length - 1))).to.equal(null);
        expect(back[text.length - 1]).to.equal(7);
      });

      it('says null to a frame that is damaged or cut', () => {
        const frame = Buffer.alloc(ROOM);
        const length = zstd?.compress(text, frame, 1) ?? 0;
        const back = Buffer.alloc(text.length);
        expect(zstd?.decompress(frame.subarray(0, length - 1), back)).to.equal(null);
        frame[0] = 0;
        expect(zstd?.decompress(frame.subarray(0, length), back)).to.equal(null);
      });

      it('reads what the others write', () => {
        for (const [, other] of kinds) {
          if (other === null) continue;
          const frame = Buffer.alloc(ROOM);
          const length = other.compress(text, frame, 1) ?? 0;
          const back = Buffer.alloc(text.length);
          expect(zstd?.decompress(frame.subarray(0, length), back)).to.equal(text.length);
          expect(back.equals(text)).to.equal(true);
        }
      });
    });
  }
});
