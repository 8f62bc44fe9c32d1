/** What clients send: bytes, not JSON, and as many as the disk has. Hence apart from the other endpoints. */
import { z } from '@hono/zod-openapi';
import { isId } from '@openservice/domain';
import type { Context } from 'hono';
import type { AppDeps, AppEnv } from '../http/deps.ts';
import { type App, check, problemSchema, queryOf } from '../http/endpoint.ts';
import { pieceOf } from '../services/content-range.ts';
import { headContent, putContent } from '../services/content-upload.ts';
import { notFound, Refusal } from '../services/refusal.ts';
import { blockJob, contentOffset, contentQuery } from './schemas/blocks.ts';

const PATH = '/blocks/{block_id}/content';
const route = PATH.replace('{block_id}', ':block_id');

export function blockContentRoutes(app: App, deps: AppDeps): void {
  document(app);
  app.put(route, async (c) => {
    const length = c.req.header('Content-Length');
    const ofSize = (size: number) => pieceOf(c.req.header('Content-Range'), length === undefined ? null : Number(length), size);
    // A body that is refused is not touched: then the server reads it to its end, and the client gets the answer and keeps its connection.
    const content = () => c.req.raw.body ?? new Blob([]).stream();
    const { priority } = check(contentQuery, queryOf(c), 'query');
    const { status, body, location } = await putContent(
      deps,
      blockId(c),
      { pieceOf: ofSize, priority },
      content,
      c.get('caller'),
    );
    const offset = typeof body.offset === 'number' ? { 'Content-Offset': String(body.offset) } : {};
    return c.json(body, status, location === undefined ? offset : { Location: location });
  });
  // HEAD comes as a GET that is answered without its body.
  app.get(route, async (c) => {
    if (c.req.method !== 'HEAD') {
      throw new Refusal('method_not_allowed', 'Content is not read here; restore the block to a file (POST …?action=restore).');
    }
    return c.body(null, 200, { 'Content-Offset': String(await headContent(deps, blockId(c))), 'Content-Length': '0' });
  });
}

function blockId(c: Context<AppEnv>): string {
  const id = c.req.param('block_id') ?? '';
  if (!isId('block', id)) throw notFound('block', id);
  return id;
}

function document(app: App): void {
  const common = { path: PATH, tags: ['blocks'], security: [{ bearer: [] }] };
  const params = z.object({ block_id: z.string() });
  const problem = { description: 'A problem', content: { 'application/problem+json': { schema: problemSchema } } };
  app.openAPIRegistry.registerPath({
    ...common,
    method: 'put',
    summary: 'Send the content of a block that was created with a size and no source, whole or a piece',
    description:
      'A piece begins where the content ends so far (HEAD tells); one that broke off counts as far as it came. To send the same again is no ' +
      'error: it is answered with the offset to go on from (409 content_offset_mismatch, `offset`) or with the job. An Idempotency-Key is not needed and not looked at.',
    request: {
      params,
      query: contentQuery,
      headers: z.object({
        'Content-Range': z.string().optional().openapi({
          description: '`bytes first-last/total`; left out: the whole content.',
          example: 'bytes 0-1048575/10737418240',
        }),
      }),
      body: { required: true, content: { 'application/octet-stream': { schema: z.string().openapi({ format: 'binary' }) } } },
    },
    responses: {
      200: { description: 'Taken, and more is to come', content: { 'application/json': { schema: contentOffset } } },
      202: { description: 'All is there; Location names the job', content: { 'application/json': { schema: blockJob } } },
      default: problem,
    },
  });
  app.openAPIRegistry.registerPath({
    ...common,
    method: 'head',
    summary: 'How much of the content is there',
    request: { params },
    responses: {
      200: {
        description: 'Where the next piece begins',
        headers: z.object({ 'Content-Offset': z.string().openapi({ description: 'Bytes' }) }),
      },
      default: problem,
    },
  });
}
