import type { AppDeps } from '../http/deps.ts';
import { type App, action, actions, endpoint } from '../http/endpoint.ts';
import { getBlock, listBlocks } from '../services/blocks.ts';
import { createBlock } from '../services/create-block.ts';
import { deleteBlock } from '../services/delete-block.ts';
import { restoreBlock } from '../services/restore-block.ts';
import { uploadBlock } from '../services/upload-block.ts';
import { verifyBlock } from '../services/verify-block.ts';
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
      summary: 'Create a block from a source',
      body: createBlockBody,
      answers: { 202: schema.blockJob },
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
      summary: 'Delete a block with all its replicas; with pool_id, the replica in that pool alone',
      query: schema.deleteBlockQuery,
      answers: { 200: schema.blockGone, 202: schema.blockJob },
    },
    ({ id, query, caller }) => deleteBlock(deps, id, query.pool_id ?? null, caller),
  );
  actions(
    app,
    {
      path: '/blocks/{block_id}',
      id: 'block',
      tag,
      summary: 'Upload, restore or verify a block',
      answers: { 202: schema.blockJob },
    },
    {
      upload: action(schema.uploadBody, ({ id, body, caller }) => uploadBlock(deps, id, body, caller)),
      restore: action(restoreBody, ({ id, body, caller }) => restoreBlock(deps, id, body, caller)),
      verify: action(schema.verifyBody, ({ id, body, caller }) => verifyBlock(deps, id, body, caller)),
    },
  );
}
