import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFsBackend, createMemoryBackend } from '@openservice/pools';
import { describeBackend } from './conformance/backend.ts';

describeBackend('memory', async () => ({ backend: createMemoryBackend(), destroy: async () => {} }));

describeBackend(
  'fs',
  async () => {
    const root = await mkdtemp(join(tmpdir(), 'openservice-fs-'));
    return { backend: createFsBackend(root), destroy: () => rm(root, { recursive: true }) };
  },
  { listed: 200, rounds: 100 },
);
