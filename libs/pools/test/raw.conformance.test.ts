import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createChunkWorkers } from '@openservice/codec';
import { openPool } from '@openservice/pools';
import { describePool } from './conformance/pool.ts';

describePool('local (raw over fs)', async () => {
  const path = await mkdtemp(join(tmpdir(), 'openservice-raw-'));
  const workers = createChunkWorkers({ threads: 2 });
  return {
    open: () => openPool({ id: 'pool-test', type: 'local', node_id: 'node-1', path }, { workers }),
    async corrupt(blockId) {
      const file = await open(join(path, 'blocks', blockId, 'disk.raw'), 'r+');
      await file.write(Buffer.from('damage'), 0, 6, 100);
      await file.close();
    },
    async destroy() {
      await workers.close();
      await rm(path, { recursive: true });
    },
  };
});
