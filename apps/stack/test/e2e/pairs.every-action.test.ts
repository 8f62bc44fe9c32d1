/**
 * Every action between every pair of pool types, on one node and across nodes: the bytes are equal, and exactly the replicas that
 * were asked for are there; each once more with a SIGKILL of the node that does the work in the middle of it.
 *
 * The cells of a group are under way at once, each with a block of its own, and each test waits for its own. In the groups that are killed every job
 * stops in the middle of its data, and a kill hits all that have: so each job is known to have been running, with some of its data
 * on its way and some not begun, when its node died.
 */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import type { Job } from './api.ts';
import { fileDigest } from './disk.ts';
import { type Ends, makeEnds, TYPES, type Type } from './pairs.ts';
import { diskFile, imported, restoredFile } from './steps.ts';
import { type System, startSystem } from './system.ts';

const ACTIONS = ['upload', 'copy', 'move', 'restore'] as const;
type Action = (typeof ACTIONS)[number];

interface Cell {
  action: Action;
  from: Type;
  to: Type;
}

interface Started extends Cell {
  blockId: string;
  resultId: string;
  digest: string;
  jobId: string;
}

const titleOf = ({ action, from, to }: Cell): string => `${action}: ${from} to ${to}`;
const cellsFrom = (from: Type): Cell[] => TYPES.flatMap((to) => ACTIONS.map((action) => ({ action, from, to })));

describe('every action between every pair of pool types', function () {
  this.timeout(120_000);
  let system: System;
  let ends: Ends;

  before(async () => {
    // Of the seven chunks of a disk the fourth is not begun.
    system = await startSystem({ nodes: 2, hold: 'node.copying@4' });
    ends = await makeEnds(system);
  });
  after(async () => system?.stop());

  /** A fresh block in the pool, and the digest of its bytes. */
  async function blockIn(pool: string, seed: string): Promise<{ blockId: string; digest: string }> {
    const path = await diskFile(system, 9, { tail: 4096 + 517, seed });
    return { blockId: await imported(system, pool, path), digest: await fileDigest(path) };
  }

  async function start(cell: Cell, block: { blockId: string; digest: string }): Promise<Started> {
    const body = { pool_id: ends.to[cell.to], from_pool_id: ends.from[cell.from] };
    const answer = await system.api.ok('POST', `/blocks/${block.blockId}?action=${cell.action}`, body);
    return { ...cell, ...block, resultId: answer.body['block-id'], jobId: answer.body['job-id'] };
  }

  async function poolsOf(blockId: string): Promise<string[]> {
    const { body } = await system.api.ok('GET', `/blocks/${blockId}`);
    expect(body.block.state).to.equal('available');
    const replicas = body.block.replicas as { pool_id: string; state: string }[];
    for (const replica of replicas) expect(replica.state).to.equal('available');
    return replicas.map((replica) => replica.pool_id).sort();
  }

  async function sameBytes(blockId: string, pool: string, digest: string): Promise<void> {
    const path = await restoredFile(system, blockId, pool);
    expect(await fileDigest(path)).to.equal(digest);
    await rm(path);
  }

  /** The job's end, the replicas, and the bytes. */
  async function endsRight({ action, from, to, blockId, resultId, digest, jobId }: Started): Promise<void> {
    const job = await system.api.succeeded(jobId, 110_000);
    expect(job.bytes_done, 'bytes done').to.equal(job.bytes_total);
    const [source, target] = [ends.from[from], ends.to[to]];
    if (action === 'copy') {
      expect(resultId).not.to.equal(blockId);
      expect(await poolsOf(resultId)).to.deep.equal([target]);
      expect(await poolsOf(blockId)).to.deep.equal([source]);
    } else {
      expect(resultId).to.equal(blockId);
      expect(await poolsOf(blockId)).to.deep.equal(action === 'move' ? [target] : [source, target].sort());
    }
    await sameBytes(resultId, target, digest);
  }

  for (const from of TYPES) {
    describe(`from ${from}`, () => {
      const outcomes = new Map<string, Promise<void>>();
      before(() => {
        for (const cell of cellsFrom(from)) {
          outcomes.set(
            titleOf(cell),
            quiet(
              blockIn(ends.from[from], titleOf(cell))
                .then((block) => start(cell, block))
                .then(endsRight),
            ),
          );
        }
      });
      for (const cell of cellsFrom(from)) it(titleOf(cell), () => outcomes.get(titleOf(cell)));
    });

    describe(`from ${from}, the node killed on the way`, () => {
      const outcomes = new Map<string, Promise<void>>();
      let allHit = false;
      before(async () => {
        const blocks = await Promise.all(cellsFrom(from).map((cell) => blockIn(ends.from[from], `${titleOf(cell)}, killed`)));
        await mkdir(system.holds);
        const started = await Promise.all(cellsFrom(from).map((cell, i) => start(cell, blocks[i]!)));
        // Reading back is a job, too, which is not to be held: only when all were hit.
        const hits = quiet(killInTheMiddle(started.map(({ jobId }) => jobId)));
        hits.then(() => {
          allHit = true;
        }, ignored);
        for (const cell of started) {
          const right = hits.then((stood) => resumed(cell, stood)).then(() => endsRight(cell));
          outcomes.set(titleOf(cell), quiet(right));
        }
      });
      after(async () => {
        await rm(system.holds, { recursive: true, force: true });
        // What is still held after a failure would stand in the way of the next group.
        if (!allHit) for (const node of system.nodes) await node.restart();
        await system.ready();
      });
      for (const cell of cellsFrom(from)) it(`${titleOf(cell)}, the node killed on the way`, () => outcomes.get(titleOf(cell)));
    });
  }

  /** Kills both nodes as often as there are jobs that were not hit yet. Answers how each stood when it was hit. */
  async function killInTheMiddle(jobIds: readonly string[]): Promise<Map<string, Job>> {
    const hits = new Map<string, Job>();
    while (hits.size < jobIds.length) {
      const left = jobIds.filter((id) => !hits.has(id));
      await someHeld(left);
      await Promise.all(system.nodes.map((node) => node.kill()));
      // One may have come to its stop while the others were looked at: who left its name stood there when it was killed.
      for (const id of await heldOf(left)) hits.set(id, await system.api.job(id));
      if (hits.size === jobIds.length) await rm(system.holds, { recursive: true });
      for (const node of system.nodes) node.start();
    }
    await system.ready();
    return hits;
  }

  async function heldOf(jobIds: readonly string[]): Promise<string[]> {
    const names = new Set(await readdir(system.holds));
    return jobIds.filter((id) => names.has(id));
  }

  /** Resolves once one of `left` is held, and so are all of them that the center sees running. Others may stand behind those in the queue. */
  async function someHeld(left: readonly string[]): Promise<void> {
    const limit = performance.now() + 60_000;
    for (;;) {
      const { body } = await system.api.ok('GET', '/jobs?state=running&limit=1000');
      const running = (body.jobs as Job[]).map(({ id }) => id).filter((id) => left.includes(id));
      const held = await heldOf(left);
      if (held.length > 0 && running.length > 0 && running.every((id) => held.includes(id))) return;
      if (performance.now() > limit) {
        throw new Error(
          `of ${left.join(', ')} after a minute held: ${held.join(', ') || 'none'}; running: ${running.join(', ') || 'none'}`,
        );
      }
      await pause(100);
    }
  }

  async function resumed(cell: Started, stood: ReadonlyMap<string, Job>): Promise<void> {
    const before = stood.get(cell.jobId);
    expect(before?.state, 'when its node was killed').to.be.oneOf(['accepted', 'running']);
    expect(before?.bytes_done).to.be.lessThan(before?.bytes_total ?? 0);
    await system.api.succeeded(cell.jobId, 110_000);
    const { body } = await system.api.ok('GET', `/jobs/${cell.jobId}`);
    const notes = (body.job.history as { note: string | null }[]).map(({ note }) => note ?? '');
    expect(notes.some((note) => /^Resumed on node/.test(note)) || body.job.attempt > 1, notes.join(' ')).to.equal(true);
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
      const gc = await system.api.ok('POST', `/pools/${pool}?action=gc`, {});
      await system.api.succeeded(gc.body['job-id']);
      await sameBytes(body['block-id'], pool, digest);
    });
  }
});

/** The same promise; a rejection that nobody has come for yet is no unhandled one. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(ignored);
  return promise;
}

function ignored(): void {}
