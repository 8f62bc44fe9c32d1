import { randomBytes } from 'node:crypto';
import { blake3 } from '@napi-rs/blake-hash';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { FencedError, MIB, type OpenServiceError, TransientError } from '@openservice/domain';
import { createPacksPool, createS3Backend, openPool } from '@openservice/pools';
import { expect } from 'chai';
import { hasS3, type TestS3, testS3 } from './support/s3-server.ts';
import { tcpProxy } from './support/tcp-proxy.ts';

const signal = new AbortController().signal;
const CHUNKS = 24;

if (hasS3('faults of a real S3')) {
  describe('an upload to s3', function () {
    this.timeout(120_000);
    let s3: TestS3;
    let workers: ChunkWorkers;
    before(async () => {
      s3 = await testS3();
      workers = createChunkWorkers({ threads: 2 });
    });
    after(async () => {
      await workers.close();
      await s3.destroy();
    });

    const session = (blockId: string, attempt: number) => ({
      blockId,
      size: CHUNKS * MIB,
      chunkSize: MIB,
      jobId: `job-of-${blockId}`,
      attempt,
      fence: attempt,
    });

    it('fails as transient when the server dies in the middle, and goes on from there', async () => {
      const chunks = Array.from({ length: CHUNKS }, () => randomBytes(MIB));
      const spec = s3.spec('dying');
      const whole = openPool(spec, { workers });
      await whole.probe({ create: true }, signal);
      let enough = (): void => {};
      const half = new Promise<void>((done) => {
        enough = done;
      });
      const proxy = await tcpProxy(s3.host, s3.port, (sum) => sum > 14 * MIB && enough());
      // Signatures cover the host, so the proxy stands under the server's own name.
      const bare = createS3Backend({ ...spec, endpoint: `http://127.0.0.1:${proxy.port}` });
      const dying = createPacksPool({ id: spec.id, backend: bare, workers });
      const first = await dying.openWriter(session('block-1', 1), signal);
      const putting = (async () => {
        for (const [index, bytes] of chunks.entries()) await first.put(index, blake3(bytes), bytes, signal);
        await first.checkpoint(signal);
      })();
      const failed = putting.then(
        () => null,
        (error: unknown) => error,
      );
      await half;
      await proxy.cut();
      expect(await failed).to.be.instanceOf(TransientError);
      await first.close();
      await dying.close();

      const second = await whole.openWriter(session('block-1', 2), signal);
      let kept = 0;
      for (const [index, bytes] of chunks.entries()) {
        if (second.has(index)) kept++;
        else await second.put(index, blake3(bytes), bytes, signal);
      }
      expect(kept).to.be.greaterThan(0).and.lessThan(CHUNKS);
      await second.commit(signal);
      await second.close();
      const reader = await whole.openReader('block-1', signal);
      const targets = chunks.map(() => Buffer.alloc(MIB));
      await Promise.all(targets.map((target, index) => reader.readChunk(index, target, signal)));
      for (const [index, target] of targets.entries()) expect(target.equals(chunks[index]!)).to.equal(true);
      await reader.close();
      await whole.close();
    });

    it('cannot reach a server that is not there, and says so', async () => {
      const proxy = await tcpProxy(s3.host, s3.port);
      await proxy.cut();
      const backend = createS3Backend(s3.spec('away', { endpoint: `http://127.0.0.1:${proxy.port}` }));
      const error = await backend.get('x', null, signal).catch((caught: unknown) => caught);
      expect(error).to.be.instanceOf(TransientError);
      expect((error as OpenServiceError).code).to.equal('unreachable');
      await backend.close();
    });

    it('lets only the newer of two attempts commit, on two connections at once', async () => {
      const spec = s3.spec('race');
      const [one, other] = [openPool(spec, { workers }), openPool(spec, { workers })];
      expect((await one.probe({ create: true }, signal)).fencing).to.equal('strict');
      const bytes = randomBytes(MIB);
      const fill = async (writer: Awaited<ReturnType<typeof one.openWriter>>) => {
        if (!writer.has(0)) await writer.put(0, blake3(bytes), bytes, signal);
        writer.hole(1, CHUNKS - 1);
        await writer.prepare(signal);
      };
      const old = await one.openWriter(session('block-2', 1), signal);
      await fill(old);
      const next = await other.openWriter(session('block-2', 2), signal);
      await fill(next);
      const [late, good] = await Promise.allSettled([old.commit(signal), next.commit(signal)]);
      expect(late.status === 'rejected' && late.reason).to.be.instanceOf(FencedError);
      expect(good.status).to.equal('fulfilled');
      await old.close();
      await next.close();
      const reader = await one.openReader('block-2', signal);
      expect((await reader.read(0, MIB, signal)).equals(bytes)).to.equal(true);
      await reader.close();
      await one.close();
      await other.close();
    });
  });
}
