/** Live disks as the tests use them: through the API, and with clients that others wrote. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { fileDigest } from './disk.ts';
import type { System } from './system.ts';

export const exec = promisify(execFile);

export interface LiveDisk {
  uri: string;
  unix_uri: string;
  block_id: string;
  pool_id: string;
  size: number;
  overlay_bytes: number;
}

export interface Live {
  id: string;
  disks: [LiveDisk, ...LiveDisk[]];
}

/** Loaded on node-1, or where `body` says; fails on anything but success. */
export async function loaded(system: System, body: Record<string, unknown>): Promise<Live> {
  const { body: answer } = await system.api.ok('PUT', '/cdm_instances', { node_id: 'node-1', ...body });
  await system.api.succeeded(answer['job-id']);
  return shown(system, answer['ins-id']);
}

/** Waits until it is loaded and its node tells of it. */
export async function shown(system: System, id: string): Promise<Live> {
  const { body } = await system.api.until(
    `/openstore_v1/cdm_instances/${id}`,
    (answer) => answer.body.cdm_instance?.state === 'loaded' && answer.body.cdm_instance.disks[0].unix_uri !== null,
  );
  return { id, disks: body.cdm_instance.disks };
}

/** Answers the blocks that were saved. */
export async function removed(system: System, id: string, query = ''): Promise<string[]> {
  const { body } = await system.api.ok('DELETE', `/cdm_instances/${id}${query}`);
  await system.api.succeeded(body['job-id']);
  return body['block-ids'] ?? [];
}

export async function acted(
  system: System,
  id: string,
  action: string,
  body: unknown = {},
): Promise<{ jobId: string; blocks: string[] }> {
  const answer = await system.api.ok('POST', `/cdm_instances/${id}?action=${action}`, body);
  return { jobId: answer.body['job-id'], blocks: answer.body['block-ids'] ?? [] };
}

/** qemu-io's commands, one after the other on one connection; an error where one of them fails, with its words. */
export async function io(uri: string, ...commands: string[]): Promise<void> {
  const each = commands.flatMap((one) => ['-c', one]);
  const { stdout } = await exec('qemu-io', ['-f', 'raw', '-t', 'none', ...each, uri]);
  if (/fail|error/i.test(stdout)) throw new Error(stdout);
}

export async function ioFails(uri: string, ...commands: string[]): Promise<string> {
  return io(uri, ...commands).then(
    () => {
      throw new Error(`${commands.join('; ')} did not fail`);
    },
    (error: Error & { stdout?: string; stderr?: string }) => `${error.message}\n${error.stdout ?? ''}\n${error.stderr ?? ''}`,
  );
}

/** SHA-256 of all of the disk, as nbdcopy reads it into `scratch`. */
export async function content(uri: string, scratch: string): Promise<string> {
  await exec('nbdcopy', [uri, scratch]);
  return fileDigest(scratch);
}
