/** From the answer 202 to the job running on the node, one job at a time. All clocks are this machine's. */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lab, NODE_ID } from '../lab.ts';
import { limitRow, median, type Row } from '../row.ts';

const JOBS = 50;
const LIMIT_MS = 50;

export async function dispatchLatency(lab: Lab): Promise<Row[]> {
  const path = join(lab.imports, 'tiny.img');
  await writeFile(path, randomBytes(64 * 1024));
  const pool = await lab.localPool();
  const waits: number[] = [];
  const starts: number[] = [];
  for (let i = 0; i < JOBS; i++) {
    const { blockId, jobId } = await lab.api.importFile({ name: `tiny-${i}`, pool_id: pool.id, node_id: NODE_ID, path });
    const answeredAt = Date.now();
    const job = await lab.follow(jobId);
    const startedAt = Date.parse(job.started_at ?? '');
    // The node may well be at work before the answer has been read here: that is no wait.
    waits.push(Math.max(0, startedAt - answeredAt));
    starts.push(startedAt - Date.parse(job.created_at));
    await lab.delete(blockId);
  }
  const note = `${JOBS} jobs, one after the other; from the row's creation to running: ${median(starts).toFixed(0)} ms median, ${Math.max(...starts)} ms at most`;
  lab.say(`  ${note}`);
  return [limitRow({ name: 'dispatch, median', unit: 'ms', note }, median(waits), LIMIT_MS)];
}
