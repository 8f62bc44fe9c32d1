import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createChunkWorkers } from '@openservice/codec';
import { newId } from '@openservice/domain';
import { openPool } from '@openservice/pools';
import { tempDir } from '@openservice/testkit';
import { expect } from 'chai';
import { CHECKS, violations } from '../src/checks/all.ts';
import { openPlace } from '../src/evidence/pools.ts';
import { soundEvidence } from './evidence.ts';

const NO_S3 = { endpoint: '', region: '', access_key: '', secret_key: '', bucket: '' };
const STRAY = { local: 'blocks/block-9/job-9.raw.part', dedup: 'sessions/block-9/0000000000000009-00000001' } as const;

describe('what is read of a pool', () => {
  for (const type of ['local', 'dedup'] as const) {
    it(`of type ${type}: nothing of one that is in order, and each file of an attempt that is left in it`, async () => {
      const dir = tempDir();
      const workers = createChunkWorkers({ threads: 1 });
      const path = join(dir.path, 'pool');
      const id = newId('pool');
      const signal = new AbortController().signal;
      const spec =
        type === 'local' ? { id, type, node_id: 'node-1', path } : { id, type, node_id: 'node-1', path, encryption_key: null };
      const pool = openPool(spec, { workers });
      await pool.probe({ create: true }, signal);
      await pool.close();
      const look = async () => {
        const opened = await openPlace({ id, name: type, type, node: 'node-1', path, prefix: null }, NO_S3, workers);
        await opened.close();
        const sound = soundEvidence();
        const evidence = { ...sound, rows: { ...sound.rows, replicas: [] }, pools: [opened.evidence] };
        return violations(
          evidence,
          CHECKS.filter(({ name }) => name === 'leftovers-in-pools'),
        );
      };
      expect(await look()).deep.equal([]);
      const stray = join(path, STRAY[type]);
      mkdirSync(join(stray, '..'), { recursive: true });
      writeFileSync(stray, 'left');
      expect((await look()).map(({ what }) => what)).deep.equal([`${STRAY[type]} is left in ${type}.`]);
      await workers.close();
      dir.remove();
    });
  }
});
