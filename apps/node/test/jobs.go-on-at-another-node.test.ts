import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type JobKind, MIB, newId } from '@openservice/domain';
import { openPool } from '@openservice/pools';
import type { BlockRef, JobEvent, JobResult, Progress } from '@openservice/protocol';
import { expect } from 'chai';
import { NatsServer, needsServers, REDIS_URL } from '../../../libs/agent/test/support/servers.ts';
import { StandInCenter } from '../../../libs/agent/test/support/stand-in-center.ts';
import { startToyNode, tempDir } from '../../../libs/agent/test/support/toy.ts';
import { Bench, contextOf } from './jobs-bench.ts';

const CHUNK = MIB / 4;
const DISK = 12 * MIB;
/** Slow enough that the checkpoint at which it stops, after 4 s, or 8, finds about two thirds. An import makes one before its first byte. */
const bandwidthOf = (kind: JobKind) => (kind === 'import' ? MIB : 2 * MIB);
const never = new AbortController().signal;

/** A node of its own: journal, queue, NATS and pools opened anew. Of the other it knows nothing but what lies in the pools. */
interface Node {
  center: StandInCenter;
  stop: () => Promise<void>;
}

const isCheckpointOf = (kind: JobKind) => (event: JobEvent) => event.job_id === kind && event.type === 'checkpoint';

describe('jobs whose node drains', function () {
  this.timeout(60_000);
  let bench: Bench;
  const stops: (() => Promise<void>)[] = [];

  before(function () {
    needsServers(this);
  });
  beforeEach(async () => {
    bench = await Bench.make();
  });
  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
    await bench.close();
  });

  async function makeNode(name: string): Promise<Node> {
    const nats = await NatsServer.start();
    stops.push(() => nats.stop());
    const center = await StandInCenter.start(nats.url, `${name}-${process.pid}`);
    stops.push(() => center.stop());
    const data = await tempDir();
    stops.push(() => data.remove());
    const own = new Bench(bench.dir);
    stops.push(() => own.workers.close());
    for (const id of [bench.a, bench.d]) {
      const place = { id, node_id: 'node-1', path: join(bench.dir, id) };
      const type = id === bench.a ? ({ type: 'local' } as const) : ({ type: 'dedup', encryption_key: null } as const);
      const pool = openPool({ ...place, ...type }, { workers: own.workers });
      own.pools.set(id, pool);
      stops.push(() => pool.close());
    }
    const options = { natsUrl: nats.url, redisUrl: REDIS_URL ?? '', nodeId: center.nodeId, dataDir: data.path };
    const { stop } = await startToyNode({ ...options, toy: own.handlers });
    stops.push(stop);
    return { center, stop };
  }

  async function makeImage(name: string): Promise<string> {
    const path = join(bench.dir, name);
    await writeFile(path, randomBytes(DISK));
    return path;
  }

  function importOf(path: string, poolId: string, blockId = newId('block')) {
    const source = { type: 'file' as const, node_id: 'node-1', path, format: 'raw' as const };
    const rest = { parent: null, changed_extents: null };
    return { block_id: blockId, size: DISK, chunk_size: CHUNK, pool_id: poolId, source, ...rest };
  }

  /** In the local pool. */
  async function makeBlock(name: string): Promise<BlockRef> {
    const params = importOf(await makeImage(name), bench.a);
    const { root_digest } = await bench.handlers.import.run(contextOf(params));
    return { id: params.block_id, size: DISK, chunk_size: CHUNK, root_digest: root_digest ?? '' };
  }

  it('go on at a node that never had them from what the target durably holds', async () => {
    const block = async (kind: JobKind) => ({ block: await makeBlock(kind), from_pool_id: bench.a });
    const jobs: [JobKind, object][] = [
      ['upload', { ...(await block('upload')), pool_id: bench.d }],
      ['copy', { ...(await block('copy')), pool_id: bench.d, new_block_id: newId('block') }],
      ['move', { ...(await block('move')), pool_id: bench.d }],
      ['restore', { ...(await block('restore')), target: { type: 'pool', pool_id: bench.d } }],
      ['import', importOf(await makeImage('import'), bench.d)],
    ];
    const one = await makeNode('one');
    for (const [kind, params] of jobs) {
      await one.center.send('run', kind, 1, { kind, fence: 1000, params: { ...params, bandwidth: bandwidthOf(kind) } });
      await one.center.until(() => one.center.find(kind, 'running') !== undefined);
      if (kind !== 'import') await one.center.command('drain', kind);
    }
    await one.center.until(() => one.center.find('import', 'checkpoint') !== undefined);
    await one.center.command('drain', 'import');
    for (const [kind] of jobs) await one.center.until(() => one.center.find(kind, 'yielded') !== undefined);
    await one.stop();

    const two = await makeNode('two');
    for (const [kind, params] of jobs) await two.center.send('run', kind, 2, { kind, fence: 2000, params });
    for (const [kind, params] of jobs) {
      const ended = () => two.center.find(kind, 'succeeded') ?? two.center.find(kind, 'failed');
      await two.center.until(() => ended() !== undefined);
      expect(ended()?.type, JSON.stringify(ended()?.payload)).to.equal('succeeded');
      const first = one.center.events.filter(isCheckpointOf(kind)).at(-1)?.payload as Progress;
      const result = ended()?.payload as JobResult;
      const second = result.progress as Progress;
      const sent = `${kind}: ${(first.bytes_sent / MIB).toFixed(1)} and ${(second.bytes_sent / MIB).toFixed(1)} MiB sent`;
      console.log(`      ${sent}`);
      expect(first.bytes_sent, sent).to.be.within(DISK / 3, DISK - 1);
      // What was on its way when the checkpoint was taken may be sent again: the lanes of a job.
      expect(first.bytes_sent + second.bytes_sent, sent).to.be.at.most(DISK + 8 * CHUNK);
      const given = params as { block?: BlockRef; new_block_id?: string; block_id?: string };
      const id = given.new_block_id ?? given.block?.id ?? given.block_id ?? '';
      const there = await bench.pools.get(bench.d)?.stat(id, never);
      expect(there?.rootDigest.toString('hex')).to.equal(given.block?.root_digest ?? result.root_digest);
      if (given.block !== undefined) expect(await bench.has(bench.a, given.block.id)).to.equal(kind !== 'move');
    }
  });
});
