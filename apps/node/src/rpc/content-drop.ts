import type { NodeReply, NodeRequest } from '@openservice/runtime';
import type { ContentStore } from '../content/content-store.ts';

/** The block is given up: what a client sent for it goes. TransientError `content_busy` while a piece of it is received. */
export async function contentDrop(
  content: Pick<ContentStore, 'drop'>,
  request: NodeRequest<'content_drop'>,
): Promise<NodeReply<'content_drop'>> {
  await content.drop(request.block_id);
  return {};
}
