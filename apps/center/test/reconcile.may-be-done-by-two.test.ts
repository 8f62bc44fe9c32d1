/**
 * The lock under which reconcile runs is no fence: a center that stood still goes on while another is at it. So what it does, done by several at
 * once without any lock, must come out as if one had done it.
 */
import { inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { watchStates } from '../src/events/watch.ts';
import { actOnOverdue } from '../src/reconcile/overdue.ts';
import { markPresence } from '../src/reconcile/presence.ts';
import { sweep } from '../src/reconcile/sweep.ts';
import { giveUpContent, purgeTrash, removeLeftovers } from '../src/reconcile/trash.ts';
import { count, type OwnDatabase, ownDatabase, startUpload, type Upload } from './support/database.ts';

const AT_ONCE = 3;
const JOBS = 12;

describe('reconcile, done by several centers at once', function () {
  this.timeout(60_000);
  let own: OwnDatabase;
  let uploads: Upload[];

  beforeEach(async function () {
    const made = await ownDatabase();
    if (made === null) return this.skip();
    own = made;
    await own.database.query(
      `INSERT INTO nodes (id, name, state, epoch, version, kinds, import_roots, last_seen_at, created_at)
       VALUES ('n1', 'n1', 'online', 1, '1', '["upload", "delete"]', '[]', UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))`,
    );
    uploads = [];
    for (let i = 0; i < JOBS; i++) uploads.push(await startUpload(own.database));
  });
  afterEach(async () => own?.drop());

  const several = (work: () => Promise<unknown>) => Promise.all(Array.from({ length: AT_ONCE }, work));

  it('each job that is overdue is acted on once', async () => {
    await own.database.query('UPDATE jobs SET deadline_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND');
    await several(() => actOnOverdue(own.database));
    for (const { jobId } of uploads) {
      expect(await count(own.database, 'job_transitions WHERE job_id = ?', [jobId]), 'accepted, and one note').to.equal(2);
      expect(await count(own.database, 'outbox WHERE job_id = ?', [jobId]), 'one command').to.equal(1);
    }
    expect(await count(own.database, 'jobs WHERE deadline_at < UTC_TIMESTAMP(3)')).to.equal(0);
  });

  it('jobs of a node that is gone get no attempt twice, and the node is told to be offline once', async () => {
    await own.database.query('UPDATE nodes SET last_seen_at = UTC_TIMESTAMP(3) - INTERVAL 1 HOUR');
    await watchStates(own.database);
    await several(async () => {
      await markPresence(own.database);
      await actOnOverdue(own.database);
      await watchStates(own.database);
    });
    await watchStates(own.database);
    expect(await count(own.database, "events WHERE type = 'node.offline'")).to.equal(1);
    expect(await count(own.database, "job_attempts WHERE job_id <> '-'")).to.equal(JOBS);
    for (const { jobId } of uploads) expect(await count(own.database, 'outbox WHERE job_id = ?', [jobId])).to.equal(1);
  });

  it('a block whose time in the trash is over is deleted by one job', async () => {
    const { database } = own;
    const blocks = uploads.map(({ blockId }) => blockId);
    await inTransaction(database, async (manager) => {
      await manager.query("DELETE FROM replicas WHERE state = 'creating'");
      await manager.query('DELETE FROM claims');
      await manager.query("UPDATE replicas SET state = 'trashed'");
      await manager.query("UPDATE blocks SET state = 'trashed', purge_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND");
    });
    await several(async () => {
      await purgeTrash(database);
      await removeLeftovers(database);
      await giveUpContent(database);
      await sweep(database);
    });
    for (const id of blocks) expect(await count(database, "jobs WHERE kind = 'delete' AND block_id = ?", [id])).to.equal(1);
  });
});
