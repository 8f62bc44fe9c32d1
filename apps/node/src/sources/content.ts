/** What a client sent with PUT /blocks/{id}/content. */
import { openHandle } from './file.ts';
import type { ImportSource, SourceBlock, SourceDeps } from './port.ts';

export async function openContent(deps: SourceDeps, block: SourceBlock): Promise<ImportSource> {
  const { handle, size } = await deps.content.open(block.id);
  return openHandle(deps, { handle, path: `The content sent for ${block.id}`, size }, block);
}
