/** Instances over HTTP, and what their nodes would say of them. */
import type { InstanceReport, JobResult } from '@openservice/protocol';
import { expect } from 'chai';
import { DIGEST, SIZE } from './database.ts';
import type { HttpCenter, Reply } from './http-center.ts';
import { jobOf, result, succeed } from './jobs.ts';

export interface Started {
  id: string;
  jobId: string;
  blockIds: string[];
}

function startedBy(answer: Reply): Started {
  expect(answer.status, answer.text).to.equal(202);
  expect(answer.headers.get('Location')).to.equal(`/openstore_v1/jobs/${answer.body['job-id']}`);
  return { id: answer.body['ins-id'], jobId: answer.body['job-id'], blockIds: answer.body['block-ids'] ?? [] };
}

export async function load(center: HttpCenter, body: Record<string, unknown>): Promise<Started> {
  return startedBy(await center.send('PUT', 'cdm_instances', body));
}

/** Loaded, and its node has said so. */
export async function loaded(center: HttpCenter, body: Record<string, unknown>): Promise<string> {
  const { id, jobId } = await load(center, body);
  await succeed(center, jobId, result({}));
  return id;
}

export async function act(center: HttpCenter, id: string, action: string, body: unknown = {}): Promise<Started> {
  return startedBy(await center.send('POST', `cdm_instances/${id}?action=${action}`, body));
}

export async function remove(center: HttpCenter, id: string, query = ''): Promise<Started> {
  return startedBy(await center.send('DELETE', `cdm_instances/${id}${query}`));
}

/** `cdm_instance` as GET of one shows it. */
export async function show(center: HttpCenter, id: string) {
  const answer = await center.send('GET', `cdm_instances/${id}`);
  expect(answer.status, answer.text).to.equal(200);
  return answer.body.cdm_instance;
}

/** All that job `jobId` was to save is there. */
export async function saved(center: HttpCenter, jobId: string): Promise<JobResult> {
  const save: { block_id: string; pool_id: string }[] = (await jobOf(center, jobId)).params.save;
  return result(
    {},
    {
      root_digest: null,
      size: null,
      blocks: save.map(({ block_id }) => ({ id: block_id, size: SIZE, root_digest: DIGEST })),
      replicas: save.map(({ block_id, pool_id }) => ({ block_id, pool_id, state: 'available', stored_bytes: 700 })),
    },
  );
}

export function report(id: string, disks: { block: string; pool: string }[], more: Partial<InstanceReport> = {}): InstanceReport {
  return {
    instance_id: id,
    state: 'loaded',
    message: null,
    disks: disks.map(({ block, pool }, index) => ({
      index,
      block_id: block,
      pool_id: pool,
      overlay_bytes: 4096 * (index + 1),
      bytes_read: 1000,
      bytes_written: 2000,
      connections: 3,
      socket: '/var/lib/open node/run/nbd.sock',
      exports: disks.length === 1 ? [id, 'a name'] : [`${id}/${index}`, `a name/${index}`],
    })),
    ...more,
  };
}
