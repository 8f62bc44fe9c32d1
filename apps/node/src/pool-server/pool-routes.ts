/** Calls about a pool as a whole (right `manage`), and those that turn a block as a whole (right `write`). */
import { chunkLength, PermanentError } from '@openservice/domain';
import { type BlockStat, damagedToWire, MAX_BODY_BYTES, readItems, reportToWire, statToWire } from '@openservice/pools';
import { z } from 'zod';
import { bodyOf, jsonBody } from './body.ts';
import { type BlockRequest, numberOf, type PoolRequest, type Shared } from './context.ts';
import { answer, answerLines } from './respond.ts';

export async function probe({ pool, response, signal }: PoolRequest): Promise<void> {
  const work = pool.probe({ create: false }, signal);
  await answer(
    response,
    work.then(({ capacityBytes, fencing }) => ({ capacity_bytes: capacityBytes, fencing })),
  );
}

export async function list({ pool, response, query, signal }: PoolRequest): Promise<void> {
  const after = query.get('after') ?? '';
  const trashed = query.get('trashed') === '1';
  const damaged: unknown[] = [];
  const onDamaged = (blockId: string, error: PermanentError): void => {
    if (blockId > after) damaged.push(damagedToWire(blockId, error));
  };
  // A client that does not ask for those is told of the first as of a failure.
  const blocks = pool.list(signal, query.get('damaged') === '1' ? { trashed, onDamaged } : { trashed });
  await answerLines(response, () => linesAfter(blocks, damaged, after), signal);
}

/** `damaged` fills as `blocks` is read; both together are in order of id. */
async function* linesAfter(blocks: AsyncIterable<BlockStat>, damaged: unknown[], after: string): AsyncIterable<unknown> {
  for await (const stat of blocks) {
    yield* damaged.splice(0);
    if (stat.blockId > after) yield statToWire(stat);
  }
  yield* damaged.splice(0);
}

const collectBody = z.object({ job_id: z.string().min(1).max(100), wait_limit_ms: z.number().nonnegative().optional() });

export async function collect({ pool, request, response, signal }: PoolRequest, { limits }: Shared): Promise<void> {
  const { job_id, wait_limit_ms } = await jsonBody(request, collectBody, limits.bodyMs);
  const run = async function* (say: (line: unknown) => void): AsyncIterable<unknown> {
    const report = await pool.collect(
      {
        jobId: job_id,
        ...(wait_limit_ms === undefined ? {} : { waitLimit: wait_limit_ms }),
        onProgress: (done, total) => say({ progress: { done, total } }),
      },
      signal,
    );
    yield { report: reportToWire(report) };
  };
  await answerLines(response, run, signal);
}

export async function stat({ pool, blockId, response, signal }: BlockRequest): Promise<void> {
  const found = pool.stat(blockId, signal);
  await answer(
    response,
    found.then((block) => ({ block: block === null ? null : statToWire(block) })),
  );
}

const fenceBody = z.object({ fence: z.number().int().nonnegative() });

export async function turn(
  what: 'trash' | 'untrash' | 'remove',
  { pool, poolKey, blockId, request, response, signal }: BlockRequest,
  { readers, limits }: Shared,
): Promise<void> {
  const { fence } = await jsonBody(request, fenceBody, limits.bodyMs);
  await answer(
    response,
    pool[what](blockId, fence, signal).then(async () => {
      // What is read no more must not keep the files of a removed block.
      await readers.dropWhere((open) => open.poolKey === poolKey && open.blockId === blockId);
      return {};
    }),
  );
}

/** The body is the chunk as one item; none at all only marks it as damaged. */
export async function repair({ pool, blockId, request, response, query, signal }: BlockRequest, shared: Shared): Promise<void> {
  const { limits, workers, buffers } = shared;
  const index = numberOf(query, 'index');
  const work = async (): Promise<unknown> => {
    const found = await pool.stat(blockId, signal);
    if (found === null) throw new PermanentError('block_not_in_pool', `Block ${blockId} is not in pool ${pool.id}.`);
    if (index * found.chunkSize >= found.size)
      throw new PermanentError('out_of_range', `Block ${blockId} has no chunk ${index}.`);
    const length = chunkLength(found.size, found.chunkSize, index);
    for await (const item of readItems(bodyOf(request, limits.bodyMs))) {
      if (item.kind === 'hole') await pool.repair(blockId, index, Buffer.alloc(length), signal);
      else if (item.kind !== 'chunk' || item.chunk.rawLength > MAX_BODY_BYTES) {
        throw new PermanentError('bad_batch', `A repair needs the ${length} bytes of chunk ${index}.`);
      } else {
        // Of another length than the chunk: the pool refuses it in its own words.
        const { chunk } = item;
        await buffers.with(chunk.rawLength, async (buffer) => {
          const plain = buffer.subarray(0, chunk.rawLength);
          const digest = await workers.decode(chunk.bytes, plain, chunk);
          if (!digest.equals(chunk.digest)) throw new PermanentError('damaged_chunk', 'The chunk came damaged.');
          await pool.repair(blockId, index, plain, signal);
        });
      }
      return {};
    }
    await pool.repair(blockId, index, null, signal);
    return {};
  };
  await answer(response, work());
}
