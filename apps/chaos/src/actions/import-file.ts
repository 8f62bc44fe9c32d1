import { join } from 'node:path';
import { drawDisk, plain, writeDiskFile } from '../model/content.ts';
import type { Action } from './action.ts';

/** A disk made by the client on a node, read by a job into any pool. */
export const importFile: Action = {
  kind: 'import',
  weight: 14,
  makes: true,
  async run(hands, draw) {
    const pool = draw.pick(hands.pools);
    const disk = drawDisk(draw, hands.name);
    const anyNode = draw.pick(hands.nodes);
    // A pool that is a directory imports from its own node alone.
    const node = pool.type === 'local' || pool.type === 'dedup' ? (pool.node ?? anyNode) : anyNode;
    const path = join(hands.importDir(node), `${hands.name}.img`);
    await writeDiskFile(path, disk);
    await hands.ask({
      kind: 'import',
      method: 'PUT',
      path: '/blocks',
      body: { name: hands.name, pool_id: pool.id, source: { type: 'file', node_id: node, path } },
      about: { content: plain(disk), pool: pool.id, node },
    });
    return true;
  },
};
