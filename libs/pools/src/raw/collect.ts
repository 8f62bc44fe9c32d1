/**
 * Collection of a raw pool: what dead processes, attempts that are over and removals that were cut off left. Blocks share nothing, so each is
 * looked at by itself, under the lock of its folder: writers go on beside it, and any number of collections may. A block that cannot be
 * told from garbage keeps all its files, and is named.
 */
import { OpenServiceError } from '@openservice/domain';
import { throwIfCancelled } from '../cancel.ts';
import { mapped } from '../fs/durable.ts';
import { sweepTempFiles } from '../fs/temp-files.ts';
import type { CollectOptions, CollectReport } from '../pool.ts';
import { type BlockPlace, sweepBlock } from './block-files.ts';

export async function collectRaw(
  root: string,
  blocks: readonly BlockPlace[],
  options: CollectOptions,
  signal: AbortSignal,
): Promise<CollectReport> {
  const temp = await mapped(() => sweepTempFiles(root));
  const report: CollectReport = {
    removedObjects: temp.files,
    freedBytes: temp.bytes,
    liveBytes: 0,
    keptObjects: 0,
    waitingFor: [],
    damaged: [],
  };
  for (const [i, block] of blocks.entries()) {
    throwIfCancelled(signal);
    await collectBlock(block, report, signal);
    options.onProgress?.(i + 1, blocks.length);
  }
  return report;
}

async function collectBlock(block: BlockPlace, report: CollectReport, signal: AbortSignal): Promise<void> {
  const { blockId } = block;
  try {
    const { removed, freedBytes, liveBytes, orphan } = await sweepBlock(block, signal);
    report.removedObjects += removed;
    report.freedBytes += freedBytes;
    report.liveBytes += liveBytes;
    if (!orphan) return;
    const message = `Block ${blockId} has an image but no ledger; its files are kept. Restore the ledger, or delete the block's folder by hand.`;
    report.damaged.push({ blockId, message });
  } catch (error) {
    if (!(error instanceof OpenServiceError) || error.code !== 'damaged_ledger') throw error;
    report.damaged.push({ blockId, message: error.message });
  }
}
