import type { JobEventType, JobResult } from '@openservice/protocol';
import { inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { applyEvent } from '../src/ingest/apply-event.ts';
import { event, PROGRESS } from './support/events.ts';
import { type HttpCenter, httpCenter, type Reply } from './support/http-center.ts';

/** Of every block that HttpCenter.block makes. */
const SIZE = 10_000_000;

describe('http: work on a pool as a whole', () => {
  let center: HttpCenter;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    await center.addNode('n2');
  });
  after(() => center?.stop());

  const act = (pool: string, action: string, body?: unknown) => center.send('POST', `pools/${pool}?action=${action}`, body);
  const jobOf = async (reply: Reply) => {
    const [row] = await center.database.query('SELECT * FROM jobs WHERE id = ?', [reply.body['job-id']]);
    return { ...row, params: json(row.params), claims: json(row.claims) };
  };
  const json = (value: unknown) => (typeof value === 'string' ? JSON.parse(value) : value);
  const ends = (reply: Reply, type: JobEventType, payload?: unknown, node = 'n1') =>
    inTransaction(center.database, (manager) => applyEvent(manager, event(reply.body['job-id'], 1, 1, type, payload, node)));
  const result = (more: Partial<JobResult> = {}): JobResult => ({
    root_digest: null,
    size: null,
    replicas: [],
    verified: false,
    progress: null,
    damage: [],
    ...more,
  });
  const cancel = (reply: Reply) => center.send('POST', `jobs/${reply.body['job-id']}?action=cancel`);

  it('is a job of the node that the pool is on, or of any', async () => {
    const pool = await center.pool('local', 'n2');
    await center.database.query('UPDATE pools SET stored_bytes = 500, logical_bytes = 1000 WHERE id = ?', [pool]);
    const pokes = center.pokes();
    const gc = await act(pool, 'gc');
    expect(gc.status, gc.text).to.equal(202);
    expect(gc.body['pool-id']).to.equal(pool);
    expect(gc.headers.get('Location')).to.equal(`/openstore_v1/jobs/${gc.body['job-id']}`);
    expect(center.pokes()).to.equal(pokes + 1);
    const job = await jobOf(gc);
    expect(job).to.deep.include({ kind: 'gc', node_id: 'n2', block_id: null, params: { pool_id: pool } });
    expect(Number(job.bytes_total)).to.equal(500);
    expect((await center.send('GET', `jobs/${job.id}`)).body.job).to.deep.include({ kind: 'gc', block_id: null });
    const verify = await jobOf(await act(pool, 'verify', { sample: 0.5 }));
    expect(verify).to.deep.include({ kind: 'pool_verify', params: { pool_id: pool, sample: 0.5 } });
    expect(Number(verify.bytes_total)).to.equal(500);
    expect((await jobOf(await act(pool, 'verify'))).params.sample, 'unless it is said').to.equal(0.05);
    const rebuild = await act(await center.pool('s3'), 'rebuild', {});
    expect(await jobOf(rebuild)).to.deep.include({ kind: 'rebuild' });
  });

  it('keeps collections of a pool apart from each other, not from who writes', async () => {
    const [from, to] = [await center.pool('local'), await center.pool('local')];
    const gc = await act(to, 'gc');
    const second = await act(to, 'gc');
    expect(second.body).to.deep.include({ status: 409, code: 'pool_busy', job_id: gc.body['job-id'] });
    const block = await center.block([from]);
    const upload = await center.send('POST', `blocks/${block}?action=upload`, { pool_id: to });
    expect(upload.status, upload.text).to.equal(202);
    expect((await act(to, 'verify')).status).to.equal(202);
    expect((await act(from, 'gc')).status, 'beside the upload that reads it').to.equal(202);
    const busy = await center.send('DELETE', `pools/${to}?force=true`);
    expect(busy.body.code).to.equal('pool_busy');
  });

  it('lets a rebuild have the pool to itself', async () => {
    const pool = await center.pool('local');
    const verify = await act(pool, 'verify');
    expect((await act(pool, 'rebuild')).body).to.include({ code: 'pool_busy', job_id: verify.body['job-id'] });
    await cancel(verify);
    const rebuild = await act(pool, 'rebuild');
    expect(rebuild.status).to.equal(202);
    for (const action of ['gc', 'verify', 'rebuild']) expect((await act(pool, action)).body.code).to.equal('pool_busy');
  });

  it('refuses what makes no sense, naming the field', async () => {
    const pool = await center.pool('local');
    for (const [action, body, path] of [
      ['gc', { sample: 1 }, 'sample'],
      ['verify', { sample: 0 }, 'sample'],
      ['verify', { sample: 1.01 }, 'sample'],
      ['verify', { sample: 'all' }, 'sample'],
      ['rebuild', { force: true }, 'force'],
      ['export_key', {}, 'passphrase'],
      ['sweep', {}, 'query.action'],
    ] as const) {
      const answer = await act(pool, action, body);
      expect([answer.status, answer.body.errors?.[0].path], action).to.deep.equal([422, path]);
    }
    expect((await act('pool-00000000000000000000000000', 'gc')).body.code).to.equal('pool_not_found');
    await center.database.query("UPDATE pools SET state = 'unavailable' WHERE id = ?", [pool]);
    expect((await act(pool, 'gc')).body.code).to.equal('pool_not_available');
  });

  it('is tried again as a new job', async () => {
    const pool = await center.pool('local');
    for (const action of ['gc', 'verify', 'rebuild']) {
      const first = await act(pool, action);
      await cancel(first);
      const again = await center.send('POST', `jobs/${first.body['job-id']}?action=retry`);
      expect(again.status, again.text).to.equal(202);
      expect((await jobOf(again)).params).to.deep.equal((await jobOf(first)).params);
      await cancel(again);
    }
    const last = await act(pool, 'gc');
    await cancel(last);
    await center.database.query("UPDATE pools SET state = 'unavailable' WHERE id = ?", [pool]);
    const refused = await center.send('POST', `jobs/${last.body['job-id']}?action=retry`);
    expect([refused.status, refused.body.code]).to.deep.equal([409, 'job_not_retryable']);
  });

  it('a collection says what the pool takes up, and lets the next one in', async () => {
    const pool = await center.pool('local');
    await ends(await act(pool, 'gc'), 'succeeded', result({ summary: { live_bytes: 4242, freed_bytes: 17 } }));
    expect((await center.send('GET', `pools/${pool}`)).body.pool.stored_bytes).to.equal(4242);
    const next = await act(pool, 'gc');
    expect(next.status, next.text).to.equal(202);
    await ends(next, 'succeeded', result({ summary: { freed_bytes: 1 } }));
    expect((await center.send('GET', `pools/${pool}`)).body.pool.stored_bytes, 'of one that does not say').to.equal(4242);
  });

  describe('a verify', () => {
    let pool: string;
    let blocks: string[];
    beforeEach(async () => {
      pool = await center.pool('local');
      blocks = [await center.block([pool]), await center.block([pool]), await center.block([pool])].toSorted();
    });
    const states = async () => {
      const rows = await center.database.query('SELECT state, verified_at FROM replicas WHERE pool_id = ? ORDER BY block_id', [
        pool,
      ]);
      return rows.map(
        (row: { state: string; verified_at: Date | null }) => `${row.state}${row.verified_at === null ? '' : ' verified'}`,
      );
    };
    const ran = async (sample: number, more: { damaged?: string[]; blocks?: number; bytes?: number; unnamed?: number }) => {
      const { damaged = [], blocks: read = 3, bytes = 3 * SIZE, unnamed = 0 } = more;
      await ends(
        await act(pool, 'verify', { sample }),
        'succeeded',
        result({
          damage: damaged.map((block_id) => ({ pool_id: pool, block_id, message: 'Chunk 3 is damaged.' })),
          progress: { ...PROGRESS, bytes_done: bytes },
          summary: { blocks: read, damaged_blocks: damaged.length + unnamed },
        }),
      );
    };

    it('of all marks what is damaged, and what is good', async () => {
      await center.database.query("UPDATE replicas SET state = 'damaged' WHERE pool_id = ? AND block_id = ?", [pool, blocks[2]]);
      await ran(1, { damaged: [blocks[1]!] });
      expect(await states()).to.deep.equal(['available verified', 'damaged', 'available verified']);
    });

    it('of a sample marks what is damaged, and calls nothing good', async () => {
      await ran(0.5, { damaged: [blocks[0]!] });
      expect(await states()).to.deep.equal(['damaged', 'available', 'available']);
    });

    it('calls nothing good when the pool has lost a block, or not every damaged one was named', async () => {
      await ran(1, { blocks: 2, bytes: 2 * SIZE });
      await ran(1, { bytes: 2 * SIZE });
      await ran(1, { damaged: [blocks[0]!], unnamed: 1 });
      expect(await states()).to.deep.equal(['damaged', 'available', 'available']);
    });
  });
});
