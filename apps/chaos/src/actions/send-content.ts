import { diskBytes, drawDisk, plain } from '../model/content.ts';
import type { KnownBlock } from '../model/model.ts';
import type { Random } from '../random.ts';
import type { Action, Hands } from './action.ts';

/** A block whose content the client sends itself, in pieces; one that broke off is gone on with before another is begun. */
export const sendContent: Action = {
  kind: 'content',
  weight: 6,
  makes: true,
  async run(hands, draw) {
    const pool = draw.pick(hands.pools);
    const disk = drawDisk(draw, hands.name);
    const waiting = unsent(hands);
    if (waiting !== undefined) {
      await sendRest(hands, waiting, draw);
      return true;
    }
    if (disk.size === 0) return false; // content has one byte at least
    const told = await hands.ask({
      kind: 'content',
      method: 'PUT',
      path: '/blocks',
      body: { name: hands.name, pool_id: pool.id, size: disk.size },
      about: { content: plain(disk), pool: pool.id },
    });
    const block = hands.model.blocks.get(told?.block ?? '');
    if (block !== undefined) await sendRest(hands, block, draw);
    return true;
  },
};

export function unsent(hands: Pick<Hands, 'model'>): KnownBlock | undefined {
  const sent = new Set([...hands.model.jobs.values()].map(({ origin }) => origin.about.block));
  return [...hands.model.blocks.values()].find(
    ({ id, origin, fate }) => origin.kind === 'content' && !sent.has(id) && fate.length === 0,
  );
}

async function sendRest(hands: Hands, block: KnownBlock, draw: Random): Promise<void> {
  const bytes = diskBytes(block.content.disk);
  for (let pieces = draw.int(1, 3); pieces > 0; pieces--) {
    const from = await hands.contentOffset(block.id);
    if (from === null) return;
    const end = pieces === 1 ? bytes.length : Math.min(bytes.length, from + draw.int(1, bytes.length));
    const told = await hands.send(block.id, bytes, Math.min(from, end), end);
    if (told === null || told.job !== null || told.status === 404) return;
  }
}
