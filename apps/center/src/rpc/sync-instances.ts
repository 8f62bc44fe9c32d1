/** What a node says of its instances, against what the center believes; a person decides what only one of them knows. */
import type { InstanceReport } from '@openservice/protocol';
import type { CdmInstance, DataSource } from '@openservice/store';
import { fromNow } from '../jobs/clock.ts';

type Known = Pick<CdmInstance, 'id' | 'state' | 'error_code' | 'error_message'>;

/** What was loaded, or changed, since the node made its list may be missing in it. */
const SETTLED_MS = 15_000;
const DISKS_A_STATEMENT = 200;

/** Ids of instances that the node holds and the center does not know of it. States that a job decides (`loading`, `removing`) are left alone. */
export async function agreeOnInstances(
  database: DataSource,
  nodeId: string,
  reports: readonly InstanceReport[],
): Promise<string[]> {
  const rows = await database.query<Known[]>(
    'SELECT id, state, error_code, error_message FROM cdm_instances WHERE node_id = ? ORDER BY id',
    [nodeId],
  );
  const known = new Map(rows.map((row) => [row.id, row]));
  const told = new Set(reports.map((report) => report.instance_id));
  await writeOverlays(
    database,
    reports.filter((report) => known.has(report.instance_id)),
  );
  await takePools(database, nodeId, reports);
  for (const report of reports) await takeState(database, known.get(report.instance_id), report);
  for (const row of rows) if (row.state === 'loaded' && !told.has(row.id)) await markLost(database, nodeId, row.id);
  return [...told].filter((id) => !known.has(id));
}

async function writeOverlays(database: DataSource, reports: readonly InstanceReport[]): Promise<void> {
  const disks = reports.flatMap(({ instance_id, disks }) => disks.map((disk) => [instance_id, disk.index, disk.overlay_bytes]));
  for (let i = 0; i < disks.length; i += DISKS_A_STATEMENT) {
    const some = disks.slice(i, i + DISKS_A_STATEMENT);
    await database.query(
      `UPDATE cdm_instance_disks d JOIN (SELECT ? AS id, ? AS disk, ? AS bytes${' UNION ALL SELECT ?, ?, ?'.repeat(some.length - 1)}) t
         ON d.instance_id = CONVERT(t.id USING utf8mb4) COLLATE utf8mb4_bin AND d.disk_index = t.disk
       SET d.overlay_bytes = t.bytes WHERE d.overlay_bytes <> t.bytes`,
      some.flat(),
    );
  }
}

/**
 * Where a disk is read, where that differs: a hydrate that failed, or whose end was never told, may have changed it. What the node reads is to be
 * kept, so its word counts, but while a job decides.
 */
async function takePools(database: DataSource, nodeId: string, reports: readonly InstanceReport[]): Promise<void> {
  const rows = await database.query<{ instance_id: string; disk_index: number; pool_id: string }[]>(
    'SELECT d.instance_id, d.disk_index, d.pool_id FROM cdm_instance_disks d JOIN cdm_instances i ON i.id = d.instance_id WHERE i.node_id = ?',
    [nodeId],
  );
  const believed = new Map(rows.map((row) => [`${row.instance_id}/${row.disk_index}`, row.pool_id]));
  for (const { instance_id, disks } of reports) {
    const moved = disks.filter((disk) => (believed.get(`${instance_id}/${disk.index}`) ?? disk.pool_id) !== disk.pool_id);
    if (moved.length === 0 || (await justChanged(database, nodeId, instance_id))) continue;
    for (const disk of moved) {
      await database.query(
        `UPDATE cdm_instance_disks SET pool_id = ? WHERE instance_id = ? AND disk_index = ? AND block_id = ?
           AND NOT EXISTS (SELECT 1 FROM claims WHERE resource = ?)`,
        [disk.pool_id, instance_id, disk.index, disk.block_id, `instance:${instance_id}`],
      );
    }
  }
}

async function takeState(database: DataSource, row: Known | undefined, report: InstanceReport): Promise<void> {
  if (row === undefined) return;
  if (report.state === 'loaded' && row.state === 'error') {
    await database.query(
      "UPDATE cdm_instances SET state = 'loaded', error_code = NULL, error_message = NULL WHERE id = ? AND state = 'error'",
      [row.id],
    );
  }
  if (report.state !== 'error' || (row.state !== 'loaded' && row.state !== 'error')) return;
  const message = (report.message ?? 'The node cannot serve it and does not say why; see its log.').slice(0, 2000);
  if (row.state === 'error' && row.error_message === message) return;
  await database.query(
    `UPDATE cdm_instances SET state = 'error', error_code = 'instance_error', error_message = ?
     WHERE id = ? AND state IN ('loaded', 'error')`,
    [message, row.id],
  );
}

async function markLost(database: DataSource, nodeId: string, id: string): Promise<void> {
  if (await justChanged(database, nodeId, id)) return;
  await database.query(
    "UPDATE cdm_instances SET state = 'error', error_code = 'instance_lost', error_message = ? WHERE id = ? AND state = 'loaded'",
    [
      `Node ${nodeId} does not hold it any more: its data directory was replaced or emptied, and what was written went with it. ` +
        'Bring the data directory back and restart the node, or remove the instance (DELETE) and load the block again.',
      id,
    ],
  );
}

/** A job on it ended a moment ago. */
async function justChanged(database: DataSource, nodeId: string, id: string): Promise<boolean> {
  const rows = await database.query<unknown[]>(
    `SELECT id FROM jobs WHERE node_id = ? AND kind IN ('load', 'unload', 'save', 'rewind', 'hydrate')
       AND finished_at > ${fromNow(-SETTLED_MS)} AND JSON_UNQUOTE(JSON_EXTRACT(params, '$.instance_id')) = ? LIMIT 1`,
    [nodeId, id],
  );
  return rows.length > 0;
}
