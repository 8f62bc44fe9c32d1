/** The main job's steps as the tests use them. Each fails on anything but success. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Answer, Job } from './api.ts';
import { makeDisk } from './disk.ts';
import type { System } from './system.ts';

let count = 0;
const unique = (word: string): string => `${word}-${++count}-${randomBytes(4).toString('hex')}`;

export async function localPool(system: System, node = 1): Promise<{ id: string; path: string }> {
  const path = system.poolPath(node, 'local');
  const { body } = await system.api.ok('PUT', '/pools', { type: 'local', name: unique('local'), node_id: `node-${node}`, path });
  return { id: body['pool-id'], path };
}

export function s3PoolBody(system: System, endpoint: string = system.servers.s3.endpoint): Record<string, unknown> {
  const { region, access_key, secret_key, bucket } = system.servers.s3;
  return {
    type: 's3',
    name: unique('s3'),
    s3_scheme: 'other',
    endpoint,
    region,
    bucket,
    access_key,
    secret_key,
    https: false,
    prefix: unique('e2e'),
  };
}

export async function s3Pool(system: System, endpoint?: string): Promise<string> {
  return (await system.api.ok('PUT', '/pools', s3PoolBody(system, endpoint))).body['pool-id'];
}

/** A seeded disk in the import root of node-1, and its path. */
export async function diskFile(system: System, sizeMib: number, options: { tail?: number; seed?: string } = {}): Promise<string> {
  const path = join(system.importRoot(1), `${unique('disk')}.img`);
  await makeDisk(path, { sizeMib, ...options });
  return path;
}

export async function startImport(system: System, poolId: string, path: string): Promise<{ blockId: string; jobId: string }> {
  const { body } = await system.api.ok('PUT', '/blocks', {
    name: unique('block'),
    pool_id: poolId,
    source: { type: 'file', node_id: 'node-1', path },
  });
  return { blockId: body['block-id'], jobId: body['job-id'] };
}

export async function imported(system: System, poolId: string, path: string): Promise<string> {
  const { blockId, jobId } = await startImport(system, poolId, path);
  await system.api.succeeded(jobId);
  return blockId;
}

export async function startAction(system: System, blockId: string, action: string, body: unknown): Promise<string> {
  return (await system.api.ok('POST', `/blocks/${blockId}?action=${action}`, body)).body['job-id'];
}

/** Restores the block to a new file on node-1 and answers its path. */
export async function restoredFile(system: System, blockId: string, fromPoolId: string): Promise<string> {
  const path = join(system.importRoot(1), `${unique('back')}.img`);
  const jobId = await startAction(system, blockId, 'restore', {
    from_pool_id: fromPoolId,
    target: { type: 'file', node_id: 'node-1', path },
  });
  await system.api.succeeded(jobId);
  return path;
}

/** Runs an action of a pool (gc, verify, rebuild) or of a block to its end. */
export async function done(
  system: System,
  what: 'pools' | 'blocks',
  id: string,
  action: string,
  body: unknown = {},
): Promise<Job> {
  const answer = await system.api.ok('POST', `/${what}/${id}?action=${action}`, body);
  return system.api.succeeded(answer.body['job-id']);
}

/** Deletes the block: into the trash, or with `purge` for good. */
export async function deleted(system: System, blockId: string, options: { purge?: boolean } = {}): Promise<void> {
  const query = options.purge === true ? '?purge=true' : '';
  await system.api.succeeded((await system.api.ok('DELETE', `/blocks/${blockId}${query}`)).body['job-id']);
}

/** A problem in short: its code, and the fields that it names. */
export function refusal({ status, body }: Answer): { status: number; code: string; fields: string[] } {
  return { status, code: body.code, fields: ((body.errors ?? []) as { path: string }[]).map(({ path }) => path) };
}
