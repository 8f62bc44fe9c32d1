/**
 * Every action between every pair of pool types, on one node and across nodes: the bytes are equal, and exactly the replicas that
 * were asked for are there; each once more with a SIGKILL of the node that does the work in the middle of it.
 */
import { rm, writeFile } from 'node:fs/promises';
import { expect } from 'chai';
import { fileDigest } from './disk.ts';
import { type Ends, makeEnds, TYPES, type Type } from './pairs.ts';
import { diskFile, imported, restoredFile } from './steps.ts';
import { type System, startSystem } from './system.ts';

/** Whichever comes first: a clone has no transfer, a transfer has its first checkpoint. */
const STEPS = ['agent.checkpointed', 'agent.prepared'];
const ACTIONS = ['upload', 'copy', 'move', 'restore'] as const;
type Action = (typeof ACTIONS)[number];

describe('every action between every pair of pool types', function () {
  this.timeout(120_000);
  let system: System;
  let ends: Ends;

  before(async () => {
    system = await startSystem({ nodes: 2, armed: STEPS });
    ends = await makeEnds(system);
  });
  after(async () => system?.stop());

  /** A fresh block in the pool, and the digest of its bytes. */
  async function blockIn(pool: string, seed: string): Promise<{ blockId: string; digest: string }> {
    const path = await diskFile(system, 18, { tail: 4096 + 517, seed });
    return { blockId: await imported(system, pool, path), digest: await fileDigest(path) };
  }

  /** Runs the action to its end; with `kill`, the node that does it dies on the way and comes back. */
  async function run(action: Action, blockId: string, from: string, to: string, kill: boolean): Promise<string> {
    // Which node it will be is the center's to say: both are armed, the one that gets the job dies.
    if (kill) for (const node of system.nodes) await writeFile(system.trigger(node.name), '');
    const { body } = await system.api.ok('POST', `/blocks/${blockId}?action=${action}`, { pool_id: to, from_pool_id: from });
    if (kill) {
      const job = await system.api.job(body['job-id']);
      const node = system.nodes.find(({ name }) => name === job.node_id);
      if (node === undefined) throw new Error(`job ${job.id} is on ${job.node_id}`);
      expect(await node.ended).to.equal('SIGKILL');
      node.start();
      for (const other of system.nodes) await rm(system.trigger(other.name), { force: true });
    }
    const job = await system.api.succeeded(body['job-id']);
    expect(job.bytes_done, 'bytes done').to.equal(job.bytes_total);
    return body['block-id'] as string;
  }

  async function poolsOf(blockId: string): Promise<string[]> {
    const { body } = await system.api.ok('GET', `/blocks/${blockId}`);
    expect(body.block.state).to.equal('available');
    const replicas = body.block.replicas as { pool_id: string; state: string }[];
    for (const replica of replicas) expect(replica.state).to.equal('available');
    return replicas.map((replica) => replica.pool_id).sort();
  }

  async function sameBytes(blockId: string, pool: string, digest: string): Promise<void> {
    expect(await fileDigest(await restoredFile(system, blockId, pool))).to.equal(digest);
  }

  async function check(action: Action, from: Type, to: Type, kill: boolean): Promise<void> {
    const [source, target] = [ends.from[from], ends.to[to]];
    const { blockId, digest } = await blockIn(source, `${action}-${from}-${to}-${kill}`);
    const result = await run(action, blockId, source, target, kill);
    if (action === 'copy') {
      expect(result).not.to.equal(blockId);
      expect(await poolsOf(result)).to.deep.equal([target]);
      expect(await poolsOf(blockId)).to.deep.equal([source]);
    } else {
      expect(await poolsOf(blockId)).to.deep.equal(action === 'move' ? [target] : [source, target].sort());
    }
    await sameBytes(action === 'copy' ? result : blockId, target, digest);
  }

  for (const from of TYPES) {
    for (const to of TYPES) {
      for (const action of ACTIONS) {
        it(`${action}: ${from} to ${to}`, () => check(action, from, to, false));
        it(`${action}: ${from} to ${to}, the node killed on the way`, () => check(action, from, to, true));
      }
    }
  }

  for (const type of TYPES) {
    it(`a copy inside a ${type} pool is a block of its own: it stays when the first is deleted`, async () => {
      const pool = ends.from[type];
      const { blockId, digest } = await blockIn(pool, `clone-${type}`);
      const { body } = await system.api.ok('POST', `/blocks/${blockId}?action=copy`, { pool_id: pool, name: 'twin' });
      const job = await system.api.succeeded(body['job-id']);
      if (type !== 'local') expect(job.bytes_sent, 'no data moves').to.be.lessThan(1024 * 1024);
      const gone = await system.api.ok('DELETE', `/blocks/${blockId}?purge=true`);
      await system.api.succeeded(gone.body['job-id']);
      const gc = await startPoolAction(pool, 'gc');
      await system.api.succeeded(gc);
      await sameBytes(body['block-id'], pool, digest);
    });
  }

  async function startPoolAction(pool: string, action: string): Promise<string> {
    return (await system.api.ok('POST', `/pools/${pool}?action=${action}`, {})).body['job-id'];
  }
});
