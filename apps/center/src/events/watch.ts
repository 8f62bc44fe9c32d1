/**
 * Events of nodes, pools and instances. Many places change their states (a heartbeat, a pass over silent nodes, a drain, jobs, a sync), and
 * there are few of them; so what the stream last said is kept, and one statement a kind finds what differs. A state that lasted less than
 * a look may be passed over; the last one never is.
 */
import { type DataSource, type EntityManager, inTransaction } from '@openservice/store';
import { CONFIRMED_SQL } from '../services/pool-reservation.ts';
import { recordEvent } from './record.ts';

interface Watched {
  kind: 'node' | 'pool' | 'instance';
  table: string;
  /** Of the rows (alias `t`) that are there for people. */
  shown: string;
}

const WATCHED: readonly Watched[] = [
  { kind: 'node', table: 'nodes', shown: '1 = 1' },
  { kind: 'pool', table: 'pools', shown: CONFIRMED_SQL },
  { kind: 'instance', table: 'cdm_instances', shown: '1 = 1' },
];

interface Changed {
  id: string;
  state: string;
  name: string;
  from_state: string | null;
}

/** How many events were written: 0 also when another center is at it. */
export async function watchStates(database: DataSource): Promise<number> {
  return inTransaction(database, async (manager) => {
    const free = await manager.query<unknown[]>('SELECT id FROM event_stream WHERE id = 1 FOR UPDATE SKIP LOCKED');
    if (free.length === 0) return 0;
    let written = 0;
    for (const watched of WATCHED) written += await watchKind(manager, watched);
    return written;
  });
}

async function watchKind(manager: EntityManager, { kind, table, shown }: Watched): Promise<number> {
  const changed = await manager.query<Changed[]>(
    `SELECT t.id, t.state, t.name, s.state AS from_state FROM ${table} t LEFT JOIN event_states s ON s.kind = '${kind}' AND s.id = t.id
     WHERE ${shown} AND (s.state IS NULL OR s.state <> t.state) ORDER BY t.id`,
  );
  for (const { id, state, name, from_state } of changed) {
    await manager.query('REPLACE INTO event_states (kind, id, state) VALUES (?, ?, ?)', [kind, id, state]);
    await recordEvent(manager, { type: `${kind}.${state}`, [`${kind}_id`]: id, data: { state, from_state, name } });
  }
  const gone = await manager.query<{ id: string; state: string }[]>(
    `SELECT s.id, s.state FROM event_states s LEFT JOIN ${table} t ON t.id = s.id WHERE s.kind = '${kind}' AND t.id IS NULL ORDER BY s.id`,
  );
  for (const { id, state } of gone) {
    await manager.query('DELETE FROM event_states WHERE kind = ? AND id = ?', [kind, id]);
    await recordEvent(manager, { type: `${kind}.deleted`, [`${kind}_id`]: id, data: { state: 'deleted', from_state: state } });
  }
  return changed.length + gone.length;
}
