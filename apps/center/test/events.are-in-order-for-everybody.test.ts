/** The stream of events: nothing is passed over, however transactions interleave, and what is not kept any more is said. */

import { createLog } from '@openservice/runtime';
import { inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { readEvents } from '../src/events/read.ts';
import { recordEvent } from '../src/events/record.ts';
import { raisePositions, sequence, streamState } from '../src/events/sequence.ts';
import { sweepEvents } from '../src/events/sweep.ts';
import { EventTail } from '../src/events/tail.ts';
import { watchStates } from '../src/events/watch.ts';
import { finish, lockJob, move } from '../src/jobs/transition.ts';
import { type OwnDatabase, ownDatabase, startUpload } from './support/database.ts';
import { uploaded } from './support/events.ts';
import { until } from './support/until.ts';

const HOUR = 3_600_000;

describe('the stream of events', function () {
  this.timeout(60_000);
  let own: OwnDatabase;

  beforeEach(async function () {
    const made = await ownDatabase();
    if (made === null) return this.skip();
    own = made;
  });
  afterEach(async () => own?.drop());

  const write = (type: string) => inTransaction(own.database, (manager) => recordEvent(manager, { type, data: {} }));

  async function all(after = 0): Promise<string[]> {
    const { last } = await streamState(own.database);
    const { events } = await readEvents(own.database, { after, last, limit: 10_000, filter: {} });
    return events.map(({ type }) => type);
  }

  it('an event whose transaction commits after a later one is read by whoever has read the later one', async () => {
    const runner = own.database.createQueryRunner();
    await runner.startTransaction('READ COMMITTED');
    await recordEvent(runner.manager, { type: 'test.early', data: {} });
    await write('test.late');
    expect(await sequence(own.database)).to.equal(1);
    expect(await all(), 'what has not committed is not waited for').to.deep.equal(['test.late']);
    const { last: seen } = await streamState(own.database);
    await runner.commitTransaction();
    await runner.release();
    expect((await streamState(own.database)).waiting).to.equal(true);
    await sequence(own.database);
    expect(await all(seen), 'read on from the last position').to.deep.equal(['test.early']);
    const byKey = await own.database.query('SELECT type FROM events ORDER BY id');
    expect(
      byKey.map(({ type }: { type: string }) => type),
      'by its key it would have been passed over',
    ).to.deep.equal(['test.early', 'test.late']);
  });

  it('two centers that give positions at once, under writers that interleave, give each event one, and no reader misses any', async () => {
    const EACH = 60;
    const WRITERS = 6;
    let writing = WRITERS;
    const writers = Array.from({ length: WRITERS }, async (_, w) => {
      for (let i = 0; i < EACH; i++) {
        await inTransaction(own.database, async (manager) => {
          await recordEvent(manager, { type: `w.${w}`, data: { i } });
          // Held open for as long as another writer needs for a statement or two.
          if (i % 3 === w % 3) await manager.query('SELECT COUNT(*) FROM events');
        });
      }
      writing--;
    });
    const givers = [0, 1].map(async () => {
      while (writing > 0 || (await streamState(own.database)).waiting) await sequence(own.database, 7);
    });
    const read: { type: string; i: number; position: number }[] = [];
    const reader = (async () => {
      let after = 0;
      await until('all events', async () => {
        const { last } = await streamState(own.database);
        const { events, upTo } = await readEvents(own.database, { after, last, limit: 11, filter: {} });
        for (const { type, data, position } of events) read.push({ type, i: Number(data.i), position });
        after = upTo;
        return read.length === EACH * WRITERS;
      });
    })();
    await Promise.all([...writers, ...givers, reader]);
    expect(new Set(read.map(({ position }) => position)).size).to.equal(EACH * WRITERS);
    for (let w = 0; w < WRITERS; w++) {
      const mine = read.filter(({ type }) => type === `w.${w}`).map(({ i }) => i);
      expect(mine, `of writer ${w}, in the order of its commits`).to.deep.equal([...Array(EACH).keys()]);
    }
  });

  it('a job tells each of its steps with the transaction that makes it, and what became of its block', async () => {
    const { jobId, blockId, to } = await startUpload(own.database);
    await inTransaction(own.database, async (manager) => {
      const job = (await lockJob(manager, jobId))!;
      await move(manager, job, 'running');
      throw new Error('rolled back');
    }).catch((error: Error) => expect(error.message).to.equal('rolled back'));
    await inTransaction(own.database, async (manager) => {
      await finish(manager, (await lockJob(manager, jobId))!, { state: 'succeeded', result: uploaded(to) });
    });
    await sequence(own.database);
    const { last } = await streamState(own.database);
    const { events } = await readEvents(own.database, { after: 0, last, limit: 100, filter: { job_id: jobId } });
    expect(events.map(({ type }) => type)).to.deep.equal(['job.queued', 'job.running', 'job.succeeded', 'block.available']);
    expect(events[2]).to.include({ job_id: jobId, block_id: blockId, node_id: 'n1' });
    expect(events[2]!.data).to.deep.equal({ kind: 'upload', state: 'succeeded', from_state: 'running', attempt: 1, note: null });
    expect(events[3]!.data.replicas).to.deep.include({ pool_id: to, state: 'available' });
  });

  it('nodes, pools and instances are told once when their state is another, and when they are gone', async () => {
    await own.database.query(
      `INSERT INTO nodes (id, name, state, epoch, version, kinds, import_roots, last_seen_at, created_at)
       VALUES ('n1', 'n1', 'online', 1, '1', '[]', '[]', UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))`,
    );
    await watchStates(own.database);
    await watchStates(own.database);
    await own.database.query("UPDATE nodes SET state = 'offline'");
    await watchStates(own.database);
    await own.database.query('DELETE FROM nodes');
    await watchStates(own.database);
    await sequence(own.database);
    expect(await all()).to.deep.equal(['node.online', 'node.offline', 'node.deleted']);
  });

  it('retention takes the oldest by age and by number, and tells up to where', async () => {
    for (let i = 0; i < 10; i++) await write(`test.n${'abcdefghij'[i]}`);
    await sequence(own.database);
    expect(await sweepEvents(own.database, { keepMs: HOUR, most: 6 })).to.equal(4);
    expect((await streamState(own.database)).floor).to.equal(4);
    await own.database.query('UPDATE events SET at = at - INTERVAL 2 HOUR WHERE position <= 8');
    expect(await sweepEvents(own.database, { keepMs: HOUR, most: 100 })).to.equal(4);
    expect(await all()).to.deep.equal(['test.ni', 'test.nj']);
    const tail = new EventTail({ database: own.database, log: createLog({ name: 'test', level: 'silent' }) });
    expect(await tail.read(3, {})).to.deep.equal({ events: [], upTo: 3, goneUpTo: 8 });
  });

  it('positions after a start are above all that an older database may have given out', async () => {
    await write('test.before');
    await sequence(own.database);
    await raisePositions(own.database, 5_000_000);
    await raisePositions(own.database, 4_000_000);
    await write('test.after');
    await sequence(own.database);
    expect((await streamState(own.database)).last).to.equal(5_000_001);
    expect(await all(1)).to.deep.equal(['test.after']);
  });
});
