/** What a pool keeps of a block's row, so that the row can be made again from the pool alone. */
import type { BlockMeta } from '@openservice/protocol';
import { type Block, BlockSetSchema, type EntityManager } from '@openservice/store';

export async function metaOf(
  manager: EntityManager,
  block: Pick<Block, 'name' | 'set_id' | 'parent_block_id' | 'created_at'>,
): Promise<BlockMeta> {
  const set = block.set_id === null ? null : await manager.findOneBy(BlockSetSchema, { id: block.set_id });
  return {
    name: block.name,
    set_id: block.set_id,
    set_name: set?.name ?? null,
    parent_block_id: block.parent_block_id,
    created_at: block.created_at.toISOString(),
  };
}
