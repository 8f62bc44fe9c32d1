/** Outbox rows: leased by one relay at a time, due again by themselves until the node's answer is ingested. */
import type { CommandType, Envelope } from '@openservice/protocol';
import { PROTOCOL_VERSION } from '@openservice/protocol';
import { childTraceparent } from '@openservice/runtime';
import { type DataSource, inTransaction } from '@openservice/store';
import { fromNow, NOW } from '../jobs/clock.ts';
import { dispatched } from '../jobs/transition-many.ts';

const BATCH = 256;
/** A command nobody has answered goes again after 5, 10, 20, 40, then every 60 s. */
const RESEND_US = 'LEAST(60000000, 5000000 * POW(2, LEAST(tries, 6)))';

export interface LeasedCommand {
  id: number;
  node_id: string;
  type: CommandType;
  job_id: string;
  attempt: number;
  payload: unknown;
  traceparent: string;
  /** This is the first, second, third … time that it is sent. */
  tries: number;
}

export interface Due {
  /** Of commands that are due; what is to go first comes first. */
  priorities: number[];
  /** Some are held back by a limit. */
  held: boolean;
}

/** 0: what tells nodes about jobs that they have; then the jobs' own, 1 to 9. */
const PRIORITIES = Array.from({ length: 10 }, (_, priority) => priority);

// One look-up in the index for each: neither MySQL's nor MariaDB's optimizer passes over the rows that are not due yet.
const LOOK_SQL = [
  ...PRIORITIES.map(
    (priority) => `(SELECT 'pending' AS status, ${priority} AS priority FROM outbox FORCE INDEX (outbox_relay)
      WHERE status = 'pending' AND priority = ${priority} AND next_at <= ${NOW} LIMIT 1)`,
  ),
  "(SELECT 'held' AS status, 0 AS priority FROM outbox FORCE INDEX (outbox_relay) WHERE status = 'held' LIMIT 1)",
].join(' UNION ALL ');

/** What there is to do; takes the same time however much is there. */
export async function lookForDue(database: DataSource): Promise<Due> {
  const due = await database.query<{ status: 'pending' | 'held'; priority: number | string }[]>(LOOK_SQL);
  return {
    priorities: due.flatMap(({ status, priority }) => (status === 'pending' ? [Number(priority)] : [])).toSorted((a, b) => a - b),
    held: due.some(({ status }) => status === 'held'),
  };
}

/** Takes up to 256 due rows that no other relay has, by priority, then age. They come due again by themselves. */
export async function leaseDue(database: DataSource, priorities: readonly number[]): Promise<LeasedCommand[]> {
  if (priorities.length === 0) return [];
  return inTransaction(database, async (manager) => {
    const rows: (LeasedCommand & { payload: string | object; id: string | number })[] = [];
    for (const priority of priorities) {
      if (rows.length >= BATCH) break;
      rows.push(
        ...(await manager.query<typeof rows>(
          `SELECT id, node_id, type, job_id, attempt, payload, traceparent, tries FROM outbox FORCE INDEX (outbox_relay)
           WHERE status = 'pending' AND priority = ? AND next_at <= ${NOW} ORDER BY next_at, id
           LIMIT ${BATCH - rows.length} FOR UPDATE SKIP LOCKED`,
          [priority],
        )),
      );
    }
    if (rows.length === 0) return [];
    await manager.query(
      `UPDATE outbox SET next_at = UTC_TIMESTAMP(3) + INTERVAL ${RESEND_US} MICROSECOND, tries = tries + 1
       WHERE id IN (${rows.map(() => '?').join(', ')})`,
      rows.map((row) => row.id),
    );
    return rows.map((row) => ({
      ...row,
      id: Number(row.id),
      tries: row.tries + 1,
      // MariaDB's JSON is text, MySQL's comes parsed.
      payload: typeof row.payload === 'string' ? JSON.parse(row.payload) : row.payload,
    }));
  });
}

/** The message of a leased command; each try has an id of its own, since JetStream drops an id that it has seen. */
export function envelopeOf(command: LeasedCommand): Envelope {
  return {
    v: PROTOCOL_VERSION,
    id: `${command.job_id}-${command.attempt}-${command.type}-${command.tries}`,
    type: command.type,
    job_id: command.job_id,
    attempt: command.attempt,
    seq: 0,
    node: command.node_id,
    node_epoch: 0,
    sent_at: new Date().toISOString(),
    traceparent: childTraceparent(command.traceparent),
    payload: command.payload,
  };
}

/** JetStream has them. */
export async function markSent(database: DataSource, commands: readonly LeasedCommand[]): Promise<void> {
  const runs = commands.filter(({ type }) => type === 'run');
  if (runs.length > 0) await inTransaction(database, (manager) => dispatched(manager, runs));
}

/** It could not be published: due again in a second, whatever the lease said. */
export async function giveBack(database: DataSource, command: LeasedCommand): Promise<void> {
  await database.query(`UPDATE outbox SET next_at = ${fromNow(1000)} WHERE id = ? AND tries = ? AND status = 'pending'`, [
    command.id,
    command.tries,
  ]);
}
