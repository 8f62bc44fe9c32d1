/** What a packs pool in a directory needs beside the layout: a directory that can be one, and the reserve that frees a full disk. */
import type { Pool } from '../pool.ts';
import { checkRoot, makeRoot } from '../raw/marker.ts';

/** `refill` puts the reserve back where there is room. */
export function inDirectory(pool: Pool, root: string, refill: (signal: AbortSignal) => Promise<void>): Pool {
  return {
    id: pool.id,
    name: pool.name,
    async probe(options, signal) {
      await checkRoot(root);
      if (options.create) await makeRoot(root);
      const probe = await pool.probe(options, signal);
      await refill(signal);
      return probe;
    },
    async remove(blockId, fence, signal) {
      await pool.remove(blockId, fence, signal);
      await refill(signal);
    },
    async collect(options, signal) {
      const report = await pool.collect(options, signal);
      await refill(signal);
      return report;
    },
    stat: (blockId, signal) => pool.stat(blockId, signal),
    openReader: (blockId, signal) => pool.openReader(blockId, signal),
    openWriter: (session, signal) => pool.openWriter(session, signal),
    openClone: (from, session, signal) => pool.openClone(from, session, signal),
    trash: (blockId, fence, signal) => pool.trash(blockId, fence, signal),
    untrash: (blockId, fence, signal) => pool.untrash(blockId, fence, signal),
    list: (signal, options) => pool.list(signal, options),
    repair: (blockId, index, bytes, signal) => pool.repair(blockId, index, bytes, signal),
    close: () => pool.close(),
  };
}
