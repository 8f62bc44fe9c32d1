/** The `remote` driver over TLS through a real server, for each kind of pool that may lie behind it. */
import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createChunkWorkers } from '@openservice/codec';
import { newId, type PoolSpec } from '@openservice/domain';
import { createFsBackend } from '@openservice/pools';
import { tempDir } from '@openservice/testkit';
import { describePool } from '../../../libs/pools/test/conformance/pool.ts';
import { corruptPacks, loseManifest } from '../../../libs/pools/test/support/damage.ts';
import { tmpdirHasReflinks } from '../../../libs/pools/test/support/mounts.ts';
import { startPoolServer } from './support/pool-server.ts';

const signal = new AbortController().signal;
/** Of all servers and clients here: what starts a thread anew for each costs more than the cases. */
const workers = createChunkWorkers({ threads: 2 });
after(() => workers.close());

type Harm = (path: string, blockId: string) => Promise<void>;

async function behindServer(spec: (path: string) => PoolSpec, corrupt: Harm, lose: Harm) {
  const dir = tempDir();
  const path = join(dir.path, 'pool');
  const lying = spec(path);
  const server = await startPoolServer({ dataDir: join(dir.path, 'node'), specs: [lying], workers });
  await (await server.behind(lying.id)).probe({ create: true }, signal);
  return {
    open: () => server.open(lying.id),
    corrupt: (blockId: string) => corrupt(path, blockId),
    lose: (blockId: string) => lose(path, blockId),
    destroy: async () => {
      await server.stop();
      dir.remove();
    },
  };
}

const damagePacks = (path: string): Promise<void> => corruptPacks(createFsBackend(path), signal);
const lose: Harm = (path, blockId) => loseManifest(createFsBackend(path), blockId, signal);
const dedup = (path: string, encryption_key: string | null): PoolSpec => ({
  id: newId('pool'),
  type: 'dedup',
  node_id: 'node-1',
  path,
  encryption_key,
});

const reflinks = tmpdirHasReflinks() ? {} : { clone: 'the filesystem of the temporary directory has no reflinks' };

describePool(
  'remote, a local pool behind it',
  () =>
    behindServer(
      (path) => ({ id: newId('pool'), type: 'local', node_id: 'node-1', path }),
      async (path, blockId) => {
        const file = await open(join(path, 'blocks', blockId, 'disk.raw'), 'r+');
        await file.write(Buffer.from('damage'), 0, 6, 100);
        await file.close();
      },
      (path, blockId) => rm(join(path, 'blocks', blockId, 'disk.raw')),
    ),
  { lacks: { sharing: 'each raw image has its own bytes', ...reflinks } },
);

describePool('remote, a dedup pool behind it', () => behindServer((path) => dedup(path, null), damagePacks, lose));

describePool('remote, an encrypted dedup pool behind it', () =>
  behindServer((path) => dedup(path, randomBytes(32).toString('hex')), damagePacks, lose),
);
