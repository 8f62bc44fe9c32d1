/** An NBD export. The protocol tells of no change: whoever exports a disk for import sees to it that nobody writes to it. */
import { connectNbd } from '@openservice/nbd';
import { NbdDiskSource } from './nbd-disk.ts';
import type { ImportSource, SourceBlock, SourceDeps } from './port.ts';
import { demandSize } from './size.ts';

export async function openNbd(deps: SourceDeps, uri: string, block: SourceBlock, signal: AbortSignal): Promise<ImportSource> {
  const client = await connectNbd(uri, { signal });
  try {
    demandSize(`The export at ${uri}`, client.disk.size, block);
    const note = `The export at ${uri} could be written to while it was read: the copy is of one point in time only if nobody did.`;
    return new NbdDiskSource({
      client,
      block,
      workers: deps.workers,
      identity: { nbd: uri, size: client.disk.size },
      notes: client.disk.readOnly ? [] : [note.slice(0, 500)],
      assertUnchanged: async () => {},
      close: () => client.close(),
    });
  } catch (error) {
    await client.close();
    throw error;
  }
}
