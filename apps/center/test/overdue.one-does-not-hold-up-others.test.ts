import type { DataSource } from '@openservice/store';
import { expect } from 'chai';
import { actOnOverdue } from '../src/reconcile/overdue.ts';
import { type OwnDatabase, ownDatabase, readJob, startUpload } from './support/database.ts';

describe('jobs past their deadline', function () {
  this.timeout(30_000);
  let own: OwnDatabase | null = null;
  let database: DataSource;

  before(async function () {
    own = await ownDatabase();
    if (own === null) return this.skip();
    database = own.database;
  });
  after(() => own?.drop());

  it('are acted on although one before them cannot be', async () => {
    const [bad, good] = [await startUpload(database), await startUpload(database)];
    const late = (jobId: string, kind: string, seconds: number) =>
      database.query(
        "UPDATE jobs SET state = 'cancelling', kind = ?, deadline_at = UTC_TIMESTAMP(3) - INTERVAL ? SECOND WHERE id = ?",
        [kind, seconds, jobId],
      );
    await late(bad.jobId, 'of-a-later-version', 20);
    await late(good.jobId, 'upload', 10);
    const failure = await actOnOverdue(database).catch((error: unknown) => error);
    expect(failure).instanceOf(Error);
    expect((await readJob(database, bad.jobId)).state).equal('cancelling');
    expect((await readJob(database, good.jobId)).state).equal('cancelled');
  });
});
