import type { DataSource } from '@openservice/store';
import { expect } from 'chai';
import { timesOfConfig } from '../src/config.ts';
import { afterSetBack } from '../src/reconcile/clock-steps.ts';
import { Hearing } from '../src/reconcile/hearing.ts';
import { count, type OwnDatabase, ownDatabase, startUpload } from './support/database.ts';

describe('presence', function () {
  this.timeout(30_000);
  let own: OwnDatabase | null = null;
  let database: DataSource;

  before(async function () {
    own = await ownDatabase();
    if (own === null) return this.skip();
    database = own.database;
  });
  after(() => own?.drop());

  /** A database that tells the clock of the test's choice, `ahead` ms ahead; null: away. */
  const clock = (at: { ahead: number | null }) =>
    ({
      query: async () => {
        if (at.ahead === null) throw new Error('away');
        return [{ clock: String(Date.now() + at.ahead) }];
      },
    }) as unknown as DataSource;

  it('a center has heard all nodes only since NATS, the database and an even clock are there', async () => {
    const at: { ahead: number | null } = { ahead: 0 };
    let up = true;
    const hearing = new Hearing(clock(at), () => up, 60_000);
    const look = async () => {
      await hearing.pass().catch(() => undefined);
      return hearing.heardMs;
    };
    const grows = async () => {
      const before = await look();
      const from = performance.now();
      while (performance.now() - from < 20) await new Promise(setImmediate);
      return (await look()) > before;
    };
    expect(hearing.heardMs, 'it has not begun').to.equal(0);
    expect(await look(), 'it has just begun').to.equal(0);
    expect(await grows()).to.equal(true);
    up = false;
    expect(await look()).to.equal(0);
    up = true;
    expect(await grows(), 'from here on').to.equal(true);
    for (const ahead of [60_000, -60_000]) {
      at.ahead = ahead;
      expect(await look(), `the clock jumped by ${ahead} ms`).to.equal(0);
      expect(await grows()).to.equal(true);
    }
    at.ahead = null;
    expect(await look(), 'away').to.equal(0);
    at.ahead = -60_000;
    expect(await look()).to.equal(0);
    expect(await grows()).to.equal(true);
  });

  it('its times are refused where a node could be offline with its lease alive', () => {
    const times = (heartbeat: number, lease: number, suspect: number, offline: number) => () =>
      timesOfConfig({
        OPENSERVICE_HEARTBEAT_MS: heartbeat,
        OPENSERVICE_LEASE_MS: lease,
        OPENSERVICE_SUSPECT_MS: suspect,
        OPENSERVICE_OFFLINE_MS: offline,
      });
    expect(times(5_000, 30_000, 30_000, 60_000)()).to.deep.equal({
      heartbeatMs: 5_000,
      leaseMs: 30_000,
      suspectMs: 30_000,
      offlineMs: 60_000,
    });
    expect(times(500, 2_000, 2_000, 3_000)()).to.include({ offlineMs: 3_000 });
    for (const wrong of [times(500, 2_000, 2_000, 2_900), times(500, 900, 2_000, 4_000), times(1_500, 4_000, 2_000, 8_000)])
      expect(wrong).to.throw(/OPENSERVICE_OFFLINE_MS/);
  });

  it('a clock that was set back puts nothing off for hours', async () => {
    const { jobId } = await startUpload(database);
    await database.query(
      `INSERT INTO nodes (id, name, state, epoch, version, kinds, import_roots, last_seen_at, created_at)
       VALUES ('n1', 'n1', 'online', 1, '1', '[]', '[]', UTC_TIMESTAMP(3) + INTERVAL 2 HOUR, UTC_TIMESTAMP(3))`,
    );
    await database.query('UPDATE outbox SET next_at = next_at + INTERVAL 2 HOUR');
    await database.query('UPDATE jobs SET deadline_at = deadline_at + INTERVAL 2 HOUR');
    await afterSetBack(database);
    expect(await count(database, 'nodes WHERE last_seen_at <= UTC_TIMESTAMP(3)')).to.equal(1);
    expect(await count(database, 'outbox WHERE job_id = ? AND next_at <= UTC_TIMESTAMP(3)', [jobId])).to.equal(1);
    expect(await count(database, 'jobs WHERE id = ? AND deadline_at < UTC_TIMESTAMP(3) + INTERVAL 1 MINUTE', [jobId])).to.equal(
      1,
    );
    await database.query("UPDATE jobs SET state = 'paused', deadline_at = UTC_TIMESTAMP(3) + INTERVAL 7 DAY WHERE id = ?", [
      jobId,
    ]);
    await afterSetBack(database);
    expect(await count(database, 'jobs WHERE id = ? AND deadline_at > UTC_TIMESTAMP(3) + INTERVAL 6 DAY', [jobId])).to.equal(1);
  });
});
