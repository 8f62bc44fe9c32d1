/** From a request's method and path to what answers it (docs/pool-protocol.md). Nothing is looked up before the token was found good. */
import { isId, PermanentError } from '@openservice/domain';
import type { PoolRight } from '@openservice/protocol';
import type { CenterReply, CenterRequest } from '@openservice/runtime';
import { z } from 'zod';
import type { ContentStore } from '../content/content-store.ts';
import { jsonBody } from './body.ts';
import { CONTENT_RESOURCE, contentOffset, putContent } from './content-routes.ts';
import type { BlockRequest, Request, Shared } from './context.ts';
import { collect, list, probe, repair, stat, turn } from './pool-routes.ts';
import { bytes, chunks, digests, extents, openBlock } from './read-routes.ts';
import { answer, sendJson } from './respond.ts';
import { checkpoint, closeSession, durable, finish, missing, openSession, prepare, putItems } from './session-routes.ts';

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const BLOCK_ID = /^[a-z0-9][a-z0-9_-]{0,126}$/;

export interface RouteOptions {
  shared: Shared;
  content: ContentStore;
  login: (request: CenterRequest<'pool_login'>, signal: AbortSignal) => Promise<CenterReply<'pool_login'>>;
}

/** Of whom nothing is known yet, no more is held in memory. */
const MAX_LOGIN_BYTES = 4096;
const loginBody = z.object({
  access_key: z.string().max(200),
  nonce: z.string().max(200),
  issued_at: z.string().max(50),
  signature: z.string().max(200),
  pool: z.string().max(200),
  block_id: z.string().max(200).nullable(),
  right: z.enum(['read', 'write', 'manage']),
});

export async function route(at: Request, path: string, { shared, content, login }: RouteOptions): Promise<void> {
  const [version, what, name = '', ...rest] = path.split('/').slice(1).map(decoded);
  const method = at.request.method ?? '';
  if (version !== 'v1') throw notFound();
  if (what === 'login' && name === '') {
    only(method, 'POST');
    const body = await jsonBody(at.request, loginBody, shared.limits.bodyMs, MAX_LOGIN_BYTES);
    return answer(at.response, login(body, at.signal));
  }
  if (what === 'content' && rest.length === 0) {
    mustBeBlock(name);
    shared.access.demand(at.request, CONTENT_RESOURCE, name, 'write');
    if (method === 'HEAD') return contentOffset(at, name, content);
    only(method, 'PUT');
    return putContent(at, name, content, shared.limits);
  }
  if (what !== 'pools' || !(isId('pool', name) || NAME.test(name))) throw notFound();
  if (rest.length === 0) {
    only(method, 'GET');
    // The same answer whether the pool is there or not: it tells only what to ask a token for.
    return sendJson(at.response, { resource: shared.resource(name) });
  }
  return poolRoute(at, name, method, rest, shared);
}

async function poolRoute(at: Request, name: string, method: string, rest: string[], shared: Shared): Promise<void> {
  const resource = shared.resource(name);
  const [head, blockId = '', ...more] = rest;
  if (head !== 'blocks' || blockId === '') {
    shared.access.demand(at.request, resource, null, 'manage');
    const request = { ...at, poolKey: resource, pool: await shared.pool(name, at.signal) };
    switch (`${method} ${rest.join('/')}`) {
      case 'POST probe':
        return probe(request);
      case 'GET blocks':
        return list(request);
      case 'POST collect':
        return collect(request, shared);
      default:
        throw notFound();
    }
  }
  mustBeBlock(blockId);
  const call = `${method} ${more[0] === 'sessions' && more.length > 1 ? 'session' : more.join('/')}`;
  const found = BLOCK_CALLS[call];
  if (found === undefined) throw notFound();
  shared.access.demand(at.request, resource, blockId, found.right);
  const request = { ...at, poolKey: resource, pool: await shared.pool(name, at.signal), blockId };
  const source = (from: string): void => {
    mustBeBlock(from);
    shared.access.demand(at.request, resource, from, 'read', 'source-authorization');
  };
  return found.run(request, shared, { source, rest: more });
}

interface Extra {
  /** Throws where the request may not read that block. */
  source: (from: string) => void;
  rest: string[];
}

interface BlockCall {
  right: PoolRight;
  run: (at: BlockRequest, shared: Shared, extra: Extra) => Promise<void>;
}

const BLOCK_CALLS: Readonly<Record<string, BlockCall>> = {
  'GET ': { right: 'read', run: stat },
  'POST open': { right: 'read', run: openBlock },
  'GET extents': { right: 'read', run: extents },
  'GET digests': { right: 'read', run: digests },
  'POST chunks': { right: 'read', run: chunks },
  'GET bytes': { right: 'read', run: bytes },
  'POST trash': { right: 'write', run: (at, shared) => turn('trash', at, shared) },
  'POST untrash': { right: 'write', run: (at, shared) => turn('untrash', at, shared) },
  'POST remove': { right: 'write', run: (at, shared) => turn('remove', at, shared) },
  'POST repair': { right: 'write', run: repair },
  'POST sessions': { right: 'write', run: (at, shared, { source }) => openSession(at, shared, source) },
  'GET session': { right: 'write', run: sessionCall },
  'POST session': { right: 'write', run: sessionCall },
  'DELETE session': { right: 'write', run: sessionCall },
};

async function sessionCall(at: BlockRequest, shared: Shared, { rest }: Extra): Promise<void> {
  const [, id = '', ...what] = rest;
  switch (`${at.request.method} ${what.join('/')}`) {
    case 'GET durable':
      return durable(at, id, shared);
    case 'POST missing':
      return missing(at, id, shared);
    case 'POST chunks':
      return putItems(at, id, shared);
    case 'POST checkpoint':
      return checkpoint(at, id, shared);
    case 'POST prepare':
      return prepare(at, id, shared);
    case 'POST commit':
      return finish('commit', at, id, shared);
    case 'POST abort':
      return finish('abort', at, id, shared);
    case 'DELETE ':
      return closeSession(at, id, shared);
    default:
      throw notFound();
  }
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw notFound();
  }
}

function only(method: string, allowed: string): void {
  if (method !== allowed) throw new PermanentError('method_not_allowed', `This path takes ${allowed} alone.`);
}

function mustBeBlock(blockId: string): void {
  if (!BLOCK_ID.test(blockId)) throw new PermanentError('bad_request', 'That is no id of a block.');
}

function notFound(): PermanentError {
  return new PermanentError('not_found', 'The pool server knows no such call; the other side may be of a newer version.');
}
