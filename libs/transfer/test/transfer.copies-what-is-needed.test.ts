import { GIB, PermanentError, TransientError } from '@openservice/domain';
import { transfer } from '@openservice/transfer';
import { expect } from 'chai';
import { CountingSource, RecordingWriter } from './fakes.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => expect.fail('it did not fail'),
    (error: Error) => error,
  );
}

describe('transfer', () => {
  it('reads only the few chunks of a sparse disk of 256 GiB', async () => {
    const source = new CountingSource(256 * GIB, MIB, [
      { first: 3, count: 2 },
      { first: 200_000, count: 1 },
    ]);
    const writer = new RecordingWriter();
    const { counters } = await transfer({ source, writer, signal: never });
    expect(source.reads).to.have.members([3, 4, 200_000]);
    expect(writer.holes).to.deep.equal([
      { first: 0, count: 3 },
      { first: 5, count: 199_995 },
      { first: 200_001, count: 62_143 },
    ]);
    expect(counters.bytesDone).to.equal(256 * GIB);
    expect(counters.bytesSent).to.equal(3 * MIB);
    expect(counters.bytesSkipped).to.equal(256 * GIB - 3 * MIB);
  });

  it('passes over what the target has from before, without reading it', async () => {
    const source = new CountingSource(100 * 4096, 4096, [{ first: 0, count: 100 }]);
    const writer = new RecordingWriter();
    for (let i = 0; i < 90; i++) writer.durable.add(i);
    const { counters } = await transfer({ source, writer, signal: never });
    expect(source.reads).to.have.members([90, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
    expect(counters).to.include({ bytesDone: 100 * 4096, bytesSkipped: 90 * 4096, bytesSent: 10 * 4096 });
  });

  it('gives the last chunk at its own length and every chunk its own bytes', async () => {
    const source = new CountingSource(9 * 4096 + 17, 4096, [{ first: 0, count: 10 }]);
    const writer = new RecordingWriter();
    const { counters } = await transfer({ source, writer, signal: never });
    expect([...writer.chunks].every(([index, byte]) => byte === index + 1)).to.equal(true);
    expect(counters.bytesSent).to.equal(9 * 4096 + 17);
  });

  it('holds no more buffers than its window, and reads no further ahead', async () => {
    const source = new CountingSource(500 * 4096, 4096, [{ first: 0, count: 500 }]);
    const writer = new RecordingWriter();
    let busy = 0;
    let most = 0;
    source.onRead = async () => {
      most = Math.max(most, ++busy);
    };
    writer.onPut = async () => {
      await new Promise(setImmediate);
      busy--;
    };
    await transfer({ source, writer, signal: never, window: 4 });
    expect(most).to.equal(4);
    expect(source.buffers.size).to.equal(4);
    expect([...source.buffers][0]).to.be.instanceOf(SharedArrayBuffer);
  });

  it('never lets a chunk run 64 past one that hangs', async () => {
    const source = new CountingSource(300 * 4096, 4096, [{ first: 0, count: 300 }]);
    const writer = new RecordingWriter();
    const hung = Promise.withResolvers<void>();
    let furthest = 0;
    writer.onPut = async (index) => {
      furthest = Math.max(furthest, index);
      if (index === 0) await hung.promise;
      if (index === 63) setImmediate(() => setImmediate(hung.resolve));
      if (index > 63) expect(writer.chunks.has(0)).to.equal(true);
    };
    await transfer({ source, writer, signal: never, window: 64 });
    expect(furthest).to.equal(299);
  });

  it('throws the first error after all other work has ended, and prepares nothing', async () => {
    const source = new CountingSource(200 * 4096, 4096, [{ first: 0, count: 200 }]);
    const writer = new RecordingWriter();
    let inside = 0;
    writer.onPut = async (index, signal) => {
      inside++;
      if (index === 7) {
        inside--;
        throw new PermanentError('no_space', 'The disk is full.');
      }
      if (!signal.aborted) await new Promise((resolve) => setImmediate(resolve));
      inside--;
    };
    const error = await failure(transfer({ source, writer, signal: never }));
    expect(error).to.include({ code: 'no_space' });
    expect(inside).to.equal(0);
    expect(writer.prepared).to.equal(false);
  });

  it('ends at once with the reason of its signal', async () => {
    const source = new CountingSource(200 * 4096, 4096, [{ first: 0, count: 200 }]);
    const writer = new RecordingWriter();
    const controller = new AbortController();
    source.onRead = (index, signal) =>
      new Promise((resolve, reject) => {
        if (index < 5) return resolve();
        signal.addEventListener('abort', () => reject(signal.reason));
        if (index === 8) controller.abort(new TransientError('node_stopping', 'The node stops.'));
      });
    const error = await failure(transfer({ source, writer, signal: controller.signal }));
    expect(error).to.include({ code: 'node_stopping' });
  });

  it('gives up as stalled when nothing moves', async () => {
    const source = new CountingSource(10 * 4096, 4096, [{ first: 0, count: 10 }]);
    const writer = new RecordingWriter();
    writer.onPut = (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    const error = await failure(transfer({ source, writer, signal: never, stallLimit: 40 }));
    expect(error).to.be.instanceOf(TransientError).and.to.include({ code: 'stalled' });
  });

  it('keeps to its bandwidth', async () => {
    const source = new CountingSource(20 * 4096, 4096, [{ first: 0, count: 20 }]);
    const begun = performance.now();
    // 80 KiB at 200 KiB/s, 50 KiB of which the bucket holds at first: 150 ms are left to wait for.
    await transfer({ source, writer: new RecordingWriter(), signal: never, bandwidth: 200 * 1024, stallLimit: 60 });
    expect(performance.now() - begun).to.be.greaterThan(130);
  });

  it('tells of a checkpoint after 256 MiB, once it is made', async () => {
    const source = new CountingSource(300 * MIB, MIB, [{ first: 0, count: 300 }]);
    const writer = new RecordingWriter();
    const told: number[] = [];
    await transfer({
      source,
      writer,
      signal: never,
      onCheckpoint: async ({ bytesSent }) => {
        expect(writer.checkpoints).to.equal(told.length + 1);
        told.push(bytesSent);
      },
    });
    expect(told).to.have.length(1);
    expect(told[0]).to.be.at.least(255 * MIB);
  });
});
