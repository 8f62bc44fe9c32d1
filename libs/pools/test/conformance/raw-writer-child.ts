/**
 * Writes a block into a local pool as a process of its own: checkpoints half, puts some more, says so, then waits to be
 * killed, or for a line on stdin: then it tries to go on, and says what each step answered.
 */
import { once } from 'node:events';
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
await once(process.stdin, 'data');
const answers: string[] = [];
for (const step of [() => writer.checkpoint(signal), () => writer.commit(signal), () => writer.abort(signal)]) {
  answers.push(
    await step().then(
      () => 'done',
      (error: { code: string }) => error.code,
    ),
  );
}
process.stdout.write(`${answers.join(' ')}\n`, () => process.exit());
