import { basename } from 'node:path';
import { followJob } from '../follow-job.ts';
import { ProgressBar } from '../progress-bar.ts';
import type { DemoContext, StepRow } from './context.ts';

/** `PUT /blocks` with the file as its source. */
export async function importImage(context: DemoContext, localPoolId: string): Promise<{ blockId: string; row: StepRow }> {
  const { api, image, nodeId, signal } = context;
  const bar = new ProgressBar('import');
  try {
    const { blockId, jobId } = await api.importFile({
      name: basename(image),
      pool_id: localPoolId,
      path: image,
      node_id: nodeId,
    });
    await followJob(api, jobId, { signal, onJob: (job) => bar.update(job.bytes_done, job.bytes_total) });
    const { size } = await api.block(blockId);
    const seconds = bar.finish(size);
    return { blockId, row: { step: 'import into the local pool', bytes: size, seconds, note: blockId } };
  } finally {
    bar.stop();
  }
}
