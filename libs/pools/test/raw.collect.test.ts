import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { createFsBackend, Ledger } from '@openservice/pools';
import { expect } from 'chai';
import { dropRemoved, placeCommitted, sweepBlock } from '../src/raw/block-files.ts';
import { fill, putChunk, type TestBlock } from './conformance/content.ts';
import { codeOf, expectContent } from './conformance/suite.ts';
import { RawPlace } from './support/raw-place.ts';

const signal = new AbortController().signal;
const BLOCK: TestBlock = { size: 8 * 65536, chunkSize: 65536, data: new Set([0, 1, 5]) };
const CHILDS: TestBlock = { size: 64 * 65536, chunkSize: 65536, data: new Set(Array.from({ length: 64 }, (_, i) => i)) };

describe('collection of a local pool', function () {
  this.timeout(30_000);
  let workers: ChunkWorkers;
  let place: RawPlace;
  before(() => {
    workers = createChunkWorkers({ threads: 1 });
  });
  after(() => workers.close());
  beforeEach(async () => {
    place = await RawPlace.make(workers);
  });
  afterEach(() => place.destroy());

  const collect = () => place.pool.collect({ jobId: 'job-gc' }, signal);
  const names = async (blockId: string): Promise<string[]> => (await readdir(place.inBlock(blockId))).sort();
  const at = (blockId: string) => ({
    root: place.path,
    blockId,
    ledger: new Ledger(createFsBackend(place.path), `blocks/${blockId}/ledger`),
  });
  const whole = async (blockId: string, block = BLOCK): Promise<void> => {
    const reader = await place.pool.openReader(blockId, signal);
    await expectContent(reader, block);
    await reader.close();
  };

  it('frees what a removal that was cut off left, parts of jobs that lost, and files of dead processes', async () => {
    await place.store('block-1', BLOCK);
    await place.pool.remove('block-1', 2, signal);
    await place.store('block-2', BLOCK);
    for (const name of ['disk.raw', 'digests', 'job-x.raw.part', 'job-x.durable.part'])
      await writeFile(place.inBlock('block-1', name), Buffer.alloc(10_000, 1));
    for (const name of ['job-y.raw.part', 'job-y.digests.part', 'job-of-block-2.durable.part'])
      await writeFile(place.inBlock('block-2', name), Buffer.alloc(10_000, 1));
    const foreign = place.inBlock('block-2', 'letter.txt');
    await writeFile(foreign, 'dear');
    // Of another boot, and old.
    const orphan = join(place.path, '.TMP', '0123abcd-1-1-0');
    await writeFile(orphan, Buffer.alloc(5000, 1));
    await utimes(orphan, 1, 1);
    const progress: number[] = [];
    const report = await place.pool.collect({ jobId: 'job-gc', onProgress: (done, total) => progress.push(done, total) }, signal);
    expect(report.removedObjects).to.equal(8);
    expect(report.freedBytes).to.be.at.least(7 * 10_000 + 5000);
    expect(report.damaged).to.deep.equal([]);
    const { blocks } = await stat(place.inBlock('block-2', 'disk.raw'));
    expect(report.liveBytes).to.be.at.least(blocks * 512);
    expect(progress).to.deep.equal([1, 2, 2, 2]);
    expect(await names('block-1')).to.deep.equal(['ledger']);
    expect(await names('block-2')).to.deep.equal(['digests', 'disk.raw', 'ledger', 'letter.txt']);
    await whole('block-2');
    expect(await collect()).to.include({ removedObjects: 0, freedBytes: 0, liveBytes: report.liveBytes });
  });

  it('ends a commit that a crash cut off, in the trash too', async () => {
    for (const blockId of ['block-1', 'block-2']) {
      await place.store(blockId, BLOCK);
      if (blockId === 'block-2') await place.pool.trash(blockId, 2, signal);
      await rename(place.inBlock(blockId, 'disk.raw'), place.inBlock(blockId, `job-of-${blockId}.raw.part`));
    }
    expect((await collect()).removedObjects).to.equal(0);
    for (const blockId of ['block-1', 'block-2']) expect(await names(blockId)).to.deep.equal(['digests', 'disk.raw', 'ledger']);
    await place.pool.untrash('block-2', 3, signal);
    for (const blockId of ['block-1', 'block-2']) await whole(blockId);
  });

  it('takes a block out of the trash whose commit a crash cut off', async () => {
    await place.store('block-1', BLOCK);
    for (const [name, part] of [['disk.raw', 'raw'] as const, ['digests', 'digests'] as const])
      await rename(place.inBlock('block-1', name), place.inBlock('block-1', `job-of-block-1.${part}.part`));
    await place.pool.trash('block-1', 2, signal);
    await place.pool.untrash('block-1', 3, signal);
    await whole('block-1');
  });

  it('leaves a writer of another process alone, and what it left when it was killed', async () => {
    const script = new URL('./conformance/raw-writer-child.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [script, place.path, 'block-1'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    expect(await collect()).to.include({ removedObjects: 0 });
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect((await collect()).liveBytes).to.be.greaterThan(32 * 49_152);
    const writer = await place.pool.openWriter(place.session('block-1', CHILDS, 2, 'job-1'), signal);
    expect((await fill(writer, CHILDS))[0]).to.equal(32);
    await writer.prepare(signal);
    await writer.commit(signal);
    await writer.close();
    await whole('block-1', CHILDS);
  });

  it('names a block whose ledger is damaged or gone, and keeps its image', async () => {
    for (const blockId of ['block-1', 'block-2', 'block-3']) await place.store(blockId, BLOCK);
    const [entry] = (await readdir(place.inBlock('block-1', 'ledger'))).sort().reverse() as [string];
    await writeFile(place.inBlock('block-1', join('ledger', entry)), 'rubbish');
    await rm(place.inBlock('block-2', 'ledger'), { recursive: true });
    await writeFile(place.inBlock('block-2', 'job-x.raw.part'), 'x');
    const report = await collect();
    expect(report.damaged.map(({ blockId }) => blockId)).to.deep.equal(['block-1', 'block-2']);
    expect(report.removedObjects).to.equal(1);
    for (const blockId of ['block-1', 'block-2']) expect(await names(blockId)).to.include.members(['digests', 'disk.raw']);
    await whole('block-3');
  });

  it('passes over a folder that is empty and a file that is no block', async () => {
    await mkdir(place.inBlock('block-1'), { recursive: true });
    await writeFile(join(place.path, 'blocks', 'letter'), 'dear');
    expect(await collect()).to.include({ removedObjects: 0, liveBytes: 0 });
  });

  describe('somebody who slept', () => {
    it('drops nothing of a block that was written anew since', async () => {
      await place.store('block-1', BLOCK);
      await place.pool.remove('block-1', 2, signal);
      const writer = await place.pool.openWriter(place.session('block-1', BLOCK, 3, 'job-new'), signal);
      await putChunk(writer, BLOCK, 0);
      await writer.checkpoint(signal);
      // As a removal goes on that had written its entry before.
      await dropRemoved(at('block-1'), signal);
      await sweepBlock(at('block-1'), signal);
      await fill(writer, BLOCK);
      await writer.commit(signal);
      await writer.close();
      await dropRemoved(at('block-1'), signal);
      await whole('block-1');
    });

    it('places nothing for a job that is not the one that committed', async () => {
      const writer = await place.pool.openWriter(place.session('block-1', BLOCK, 1, 'job-old'), signal);
      await fill(writer, BLOCK);
      await writer.prepare(signal);
      expect(await placeCommitted(at('block-1'), 'job-old', signal)).to.equal(false);
      expect(await names('block-1')).to.not.include('disk.raw');
      await writer.abort(signal);
      await writer.close();
      expect(await placeCommitted(at('block-1'), 'job-old', signal)).to.equal(false);
      expect(await codeOf(place.pool.openReader('block-1', signal))).to.equal('block_not_in_pool');
    });
  });
});
