/** Writes a block into a local pool as a process of its own, for tests that kill it: checkpoints half, says so, then goes on putting. */
import { createChunkWorkers } from '@openservice/codec';
import { openPool } from '@openservice/pools';
import { putChunk } from './content.ts';

const [path, blockId] = process.argv.slice(2) as [string, string];
const signal = new AbortController().signal;
const block = { size: 64 * 65536, chunkSize: 65536, data: new Set(Array.from({ length: 64 }, (_, i) => i)) };
const pool = openPool(
  { id: 'pool-test', type: 'local', node_id: 'node-1', path },
  { workers: createChunkWorkers({ threads: 1 }) },
);
const writer = await pool.openWriter({ blockId, ...block, jobId: 'job-1', attempt: 1, fence: 1 }, signal);
for (let index = 0; index < 32; index++) await putChunk(writer, block, index);
await writer.checkpoint(signal);
for (let index = 32; index < 48; index++) await putChunk(writer, block, index);
process.stdout.write('checkpointed\n');
// Waits to be killed.
setInterval(() => {}, 1000);
