import { once } from 'node:events';
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { newId } from '@openservice/domain';
import { expect } from 'chai';
import { readNodeConfig } from '../src/config.ts';
import { ContentStore } from '../src/content/content-store.ts';
import { ImportRoots } from '../src/import-roots.ts';
import { Pools } from '../src/pools-access.ts';
import { contentDrop } from '../src/rpc/content-drop.ts';
import { poolProbe } from '../src/rpc/pool-probe.ts';
import { sourceProbe } from '../src/rpc/source-probe.ts';
import { targetProbe } from '../src/rpc/target-probe.ts';
import type { SourceDeps } from '../src/sources/open-source.ts';
import type { TargetDeps } from '../src/targets/port.ts';

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'none';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('node', () => {
  let dir: string;
  let workers: ChunkWorkers;
  let pools: Pools;
  let deps: SourceDeps & TargetDeps & { content: ContentStore };
  before(async () => {
    dir = await realpath(await mkdtemp(join(tmpdir(), 'os-node-')));
    await mkdir(join(dir, 'root'));
    await writeFile(join(dir, 'root/disk'), 'abcd');
    workers = createChunkWorkers({ threads: 1 });
    // Probes bring their spec along: no center is asked.
    const poolSpec = () => Promise.reject(new Error('a center was asked'));
    pools = new Pools({ nodeId: 'node-1', environment: { workers }, poolSpec });
    const importRoots = new ImportRoots([join(dir, 'root')]);
    deps = { importRoots, workers, content: new ContentStore(join(dir, 'content')), scratchDir: dir };
  });
  after(async () => {
    await pools.close();
    await workers.close();
    await rm(dir, { recursive: true, force: true });
  });

  it('probes a pool of its own and refuses one of another node', async () => {
    const local = { id: newId('pool'), type: 'local' as const, node_id: 'node-1', path: join(dir, 'local') };
    const dedup = { ...local, id: newId('pool'), type: 'dedup' as const, path: join(dir, 'dedup'), encryption_key: null };
    for (const spec of [local, dedup]) {
      const answer = await poolProbe(pools, { spec, create: true });
      expect(answer.fencing).to.equal('strict');
      expect(answer.capacity_bytes).to.be.greaterThan(0);
      const theirs = { ...spec, node_id: 'node-2' };
      expect(await codeOf(poolProbe(pools, { spec: theirs, create: true }))).to.equal('pool_on_other_node');
    }
  });

  it('says of a pool that does not answer which it is, and how long it was asked', async () => {
    const mute = createServer((socket) => void socket.on('error', () => undefined).resume()).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = mute.address() as AddressInfo;
    const remote = {
      type: 'remote',
      host: '127.0.0.1',
      port,
      https: true,
      tls_fingerprint: null,
      remote_pool: 'default',
    } as const;
    const auth = { type: 'access_key', access_key: 'a', secret_key: 'b' } as const;
    const s3 = {
      type: 's3',
      s3_scheme: 'other',
      endpoint: `http://127.0.0.1:${port}`,
      region: 'r',
      bucket: 'disks',
      prefix: 'p',
      access_key: 'a',
      secret_key: 'b',
      https: false,
      encryption_key: null,
    } as const;
    for (const [spec, named] of [
      [{ id: newId('pool'), ...remote, auth }, `pool default of the pool server 127.0.0.1:${port}`],
      [{ id: newId('pool'), ...s3 }, `S3 bucket "disks" at http://127.0.0.1:${port}`],
    ] as const) {
      const error = await poolProbe(pools, { spec, create: true }, 300).catch((thrown: unknown) => thrown);
      expect(error).to.include({ code: 'pool_unreachable', outcome: 'transient' });
      expect((error as Error).message)
        .to.contain(named)
        .and.to.contain('within 0.3 s');
    }
    mute.close();
    await once(mute, 'close');
  });

  it('probes sources and targets', async () => {
    const path = join(dir, 'root/disk');
    const seen = await sourceProbe(deps, { source: { type: 'file', path, format: null } });
    expect(seen).to.include({ size: 4, format: 'raw' });
    const taken = { type: 'file' as const, path };
    expect(await codeOf(targetProbe(deps, { target: taken, size: 1, delta: false }))).to.equal('target_exists');
    const target = { type: 'file' as const, path: join(dir, 'root/new') };
    expect(await targetProbe(deps, { target, size: 1, delta: false })).to.deep.equal({});
    expect(await codeOf(targetProbe(deps, { target, size: Number.MAX_SAFE_INTEGER, delta: false }))).to.equal('no_space');
  });

  it('drops what a client sent for a block, and again', async () => {
    const blockId = newId('block');
    const bytes = (async function* () {
      yield Buffer.from('abcd');
    })();
    await deps.content.append(blockId, { offset: 0, total: 4 }, bytes, new AbortController().signal);
    expect(await deps.content.offset(blockId)).to.equal(4);
    for (let i = 0; i < 2; i++) await contentDrop(deps.content, { block_id: blockId });
    expect(await deps.content.offset(blockId)).to.equal(0);
  });

  it('says which variable of its environment is wrong', () => {
    const good = {
      OPENSERVICE_NODE_ID: 'node-1',
      OPENSERVICE_DATA_DIR: dir,
      OPENSERVICE_REDIS_URL: 'redis://127.0.0.1:1',
      OPENSERVICE_NATS_URL: 'nats://127.0.0.1:1',
      OPENSERVICE_IMPORT_ROOTS: '/a:/b',
    };
    expect(readNodeConfig(good)).to.deep.include({ importRoots: ['/a', '/b'], logLevel: 'info' });
    expect(readNodeConfig(good)).to.include({ poolHost: '127.0.0.1', poolPort: 9527, poolAdvertise: null });
    expect(() => readNodeConfig({ ...good, OPENSERVICE_POOL_ADVERTISE: 'host/path' })).to.throw('OPENSERVICE_POOL_ADVERTISE');
    expect(() => readNodeConfig({ ...good, OPENSERVICE_POOL_PORT: '70000' })).to.throw('OPENSERVICE_POOL_PORT');
    expect(() => readNodeConfig({ ...good, OPENSERVICE_NODE_ID: 'Not.One' })).to.throw('OPENSERVICE_NODE_ID');
    expect(() => readNodeConfig({ ...good, OPENSERVICE_IMPORT_ROOTS: 'a' })).to.throw('OPENSERVICE_IMPORT_ROOTS');
    expect(() => readNodeConfig({ ...good, OPENSERVICE_NATS_URL: undefined })).to.throw('set OPENSERVICE_NATS_URL');
  });
});
