import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { PermanentError } from '@openservice/domain';
import { followJob } from '../follow-job.ts';
import { ProgressBar } from '../progress-bar.ts';
import type { DemoContext, StepRow } from './context.ts';

/** Where a local pool keeps a block: the layout that docs/ARCHITECTURE.md describes. */
export function rawFile(poolPath: string, blockId: string): string {
  return join(poolPath, 'blocks', blockId, 'disk.raw');
}

/** `DELETE /blocks/{id}?pool_id=`: the local replica alone. PermanentError `still_there` when its file outlives the job. */
export async function dropLocal(context: DemoContext, blockId: string, localPoolId: string): Promise<StepRow> {
  const { api, poolPath, signal } = context;
  const bar = new ProgressBar('delete replica');
  try {
    await followJob(api, await api.deleteBlock(blockId, { poolId: localPoolId }), { signal });
    const seconds = bar.finish(0);
    const { replicas } = await api.block(blockId);
    if (replicas.some((replica) => replica.pool_id === localPoolId) || existsSync(rawFile(poolPath, blockId))) {
      throw new PermanentError('still_there', `The local replica of ${blockId} was deleted, but is still there.`);
    }
    return { step: 'delete the local replica', bytes: null, seconds, note: 'the copy in S3 is the only one' };
  } finally {
    bar.stop();
  }
}
