import type { AppDeps } from '../http/deps.ts';
import { type App, action, actions, endpoint } from '../http/endpoint.ts';
import { getBlock, listBlocks } from '../services/blocks.ts';
import { copyBlock } from '../services/copy-block.ts';
import { createBlock } from '../services/create-block.ts';
import { deleteBlock } from '../services/delete-block.ts';
import { moveBlock } from '../services/move-block.ts';
import { restoreBlock } from '../services/restore-block.ts';
import { undeleteBlock } from '../services/undelete-block.ts';
import { uploadBlock } from '../services/upload-block.ts';
import { verifyBlock } from '../services/verify-block.ts';
import { blockContentRoutes } from './block-content.ts';
import * as schema from './schemas/blocks.ts';
import { createBlockBody } from './schemas/create-block.ts';
import { restoreBody } from './schemas/restore-block.ts';

const tag = 'blocks';

export function blockRoutes(app: App, deps: AppDeps): void {
  endpoint(
    app,
    {
      method: 'get',
      path: '/blocks',
      tag,
      summary: 'List blocks',
      query: schema.listBlocksQuery,
      answers: { 200: schema.blocksAnswer },
    },
    ({ query }) => listBlocks(deps.database, query),
  );
  endpoint(
    app,
    {
      method: 'get',
      path: '/blocks/{block_id}',
      id: 'block',
      tag,
      summary: 'One block with its replicas',
      answers: { 200: schema.blockAnswer },
    },
    ({ id }) => getBlock(deps.database, id),
  );
  endpoint(
    app,
    {
      method: 'put',
      path: '/blocks',
      tag,
      summary: 'Create a block from a source; or with a size alone, one that waits for its content to be sent',
      body: createBlockBody,
      answers: { 201: schema.blockWaiting, 202: schema.blockJob },
    },
    ({ body, caller }) => createBlock(deps, body, caller),
  );
  endpoint(
    app,
    {
      method: 'delete',
      path: '/blocks/{block_id}',
      id: 'block',
      tag,
      summary:
        'Put a block into the trash, or with purge=true remove it for good; with pool_id, remove the replica in that pool alone',
      query: schema.deleteBlockQuery,
      answers: { 200: schema.blockGone, 202: schema.blockJob },
    },
    ({ id, query, caller }) =>
      deleteBlock(deps, id, { poolId: query.pool_id ?? null, purge: query.purge, priority: query.priority }, caller),
  );
  actions(
    app,
    {
      path: '/blocks/{block_id}',
      id: 'block',
      tag,
      summary: 'Upload, copy, move, restore or verify a block, or bring it back out of the trash',
      answers: { 202: schema.blockJob },
    },
    {
      upload: action(schema.uploadBody, ({ id, body, caller }) => uploadBlock(deps, id, body, caller)),
      copy: action(schema.copyBody, ({ id, body, caller }) => copyBlock(deps, id, body, caller)),
      move: action(schema.moveBody, ({ id, body, caller }) => moveBlock(deps, id, body, caller)),
      restore: action(restoreBody, ({ id, body, caller }) => restoreBlock(deps, id, body, caller)),
      verify: action(schema.verifyBody, ({ id, body, caller }) => verifyBlock(deps, id, body, caller)),
      undelete: action(schema.undeleteBody, ({ id, body, caller }) => undeleteBlock(deps, id, body, caller)),
    },
  );
  blockContentRoutes(app, deps);
}
