import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { createLog } from '@openservice/runtime';
import { expect } from 'chai';
import type { NatsConnection } from 'nats';
import { readNodeConfig } from '../src/config.ts';
import { ImportRoots } from '../src/import-roots.ts';
import { Pools } from '../src/pools-access.ts';
import { poolProbe } from '../src/rpc/pool-probe.ts';
import { sourceProbe } from '../src/rpc/source-probe.ts';
import { targetProbe } from '../src/rpc/target-probe.ts';

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
  let roots: ImportRoots;
  before(async () => {
    dir = await realpath(await mkdtemp(join(tmpdir(), 'os-node-')));
    await mkdir(join(dir, 'root'));
    await writeFile(join(dir, 'root/disk'), 'abcd');
    workers = createChunkWorkers({ threads: 1 });
    const log = createLog({ name: 'test', level: 'silent' });
    // Probes bring their spec along: no center, and no NATS, is asked.
    pools = new Pools({ nc: {} as NatsConnection, nodeId: 'node-1', environment: { workers }, log });
    roots = new ImportRoots([join(dir, 'root')]);
  });
  after(async () => {
    await pools.close();
    await workers.close();
    await rm(dir, { recursive: true, force: true });
  });

  it('probes a pool of its own and refuses one of another node', async () => {
    const spec = { id: 'pool-a', type: 'local' as const, node_id: 'node-1', path: join(dir, 'pool') };
    const answer = await poolProbe(pools, { spec, create: true });
    expect(answer.fencing).to.equal('strict');
    expect(answer.capacity_bytes).to.be.greaterThan(0);
    expect(await codeOf(poolProbe(pools, { spec: { ...spec, node_id: 'node-2' }, create: true }))).to.equal('pool_on_other_node');
  });

  it('probes sources and targets', async () => {
    const path = join(dir, 'root/disk');
    expect(await sourceProbe(roots, { source: { type: 'file', path } })).to.deep.equal({ size: 4 });
    expect(await codeOf(targetProbe(roots, { target: { type: 'file', path }, size: 1 }))).to.equal('target_exists');
    const target = { type: 'file' as const, path: join(dir, 'root/new') };
    expect(await targetProbe(roots, { target, size: 1 })).to.deep.equal({});
    expect(await codeOf(targetProbe(roots, { target, size: Number.MAX_SAFE_INTEGER }))).to.equal('no_space');
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
    expect(() => readNodeConfig({ ...good, OPENSERVICE_NODE_ID: 'Not.One' })).to.throw('OPENSERVICE_NODE_ID');
    expect(() => readNodeConfig({ ...good, OPENSERVICE_IMPORT_ROOTS: 'a' })).to.throw('OPENSERVICE_IMPORT_ROOTS');
    expect(() => readNodeConfig({ ...good, OPENSERVICE_NATS_URL: undefined })).to.throw('set OPENSERVICE_NATS_URL');
  });
});
