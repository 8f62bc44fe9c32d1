import { compareFiles } from '../compare.ts';
import { ProgressBar } from '../progress-bar.ts';
import type { DemoContext, StepRow } from './context.ts';
import { rawFile } from './drop-local.ts';

/** The restored disk against the image, byte for byte. */
export async function compareWithImage(context: DemoContext, blockId: string): Promise<StepRow> {
  const bar = new ProgressBar('compare');
  try {
    const restored = rawFile(context.poolPath, blockId);
    const bytes = await compareFiles(context.image, restored, (done, total) => bar.update(done, total), context.signal);
    return { step: 'compare byte for byte', bytes, seconds: bar.finish(bytes, 'equal'), note: 'equal' };
  } finally {
    bar.stop();
  }
}
