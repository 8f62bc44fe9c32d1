import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { openPool } from '@openservice/pools';
import { describePool, type PoolUnderTest } from './conformance/pool.ts';
import { cannotMount, type Mounted, mountXfs, tmpdirHasReflinks } from './support/mounts.ts';

const LACKS = { sharing: 'each raw image has its own bytes', stored: 'a raw image is not compressed' };

describe('local pools', () => {
  let workers: ChunkWorkers;
  before(() => {
    workers = createChunkWorkers({ threads: 2 });
  });
  after(() => workers.close());

  const rawIn = async (folder: string): Promise<PoolUnderTest> => {
    const path = await mkdtemp(join(folder, 'openservice-raw-'));
    return {
      open: () => openPool({ id: 'pool-test', type: 'local', node_id: 'node-1', path }, { workers }),
      async corrupt(blockId) {
        const file = await open(join(path, 'blocks', blockId, 'disk.raw'), 'r+');
        await file.write(Buffer.from('damage'), 0, 6, 100);
        await file.close();
      },
      lose: (blockId) => rm(join(path, 'blocks', blockId, 'disk.raw')),
      destroy: () => rm(path, { recursive: true }),
    };
  };

  const clone = tmpdirHasReflinks() ? {} : { clone: 'the filesystem of the temporary directory has no reflinks' };
  describePool('local (raw over fs)', () => rawIn(tmpdir()), { lacks: { ...LACKS, ...clone } });

  describe('on a filesystem with reflinks', function () {
    this.timeout(60_000);
    const reason = cannotMount('xfs');
    if (reason !== null) {
      it.skip(`local (raw over fs), skipped: no XFS: ${reason}`);
      return;
    }
    let xfs: Mounted;
    before(async () => {
      xfs = await mountXfs();
    });
    after(() => xfs?.unmount());
    describePool('local (raw over xfs)', () => rawIn(xfs.path), { lacks: LACKS });
  });
});
