import type { NodeReply, NodeRequest } from '@openservice/runtime';
import type { ImportRoots } from '../import-roots.ts';

/** Errors are those of ImportRoots.openSource. */
export async function sourceProbe(roots: ImportRoots, request: NodeRequest<'source_probe'>): Promise<NodeReply<'source_probe'>> {
  const source = await roots.openSource(request.source.path);
  await source.handle.close();
  return { size: source.size };
}
