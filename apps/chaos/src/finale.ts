/** After quiet, through the API: garbage is collected twice, some blocks are restored, live disks are read. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connectNbd } from '@openservice/nbd';
import type { ApiClient } from '@openservice/testkit';
import type { Client } from './client/client.ts';
import { anomaliesOf } from './evidence/anomalies.ts';
import { difference } from './model/content.ts';
import { instanceContent } from './model/model.ts';
import { Random } from './random.ts';
import type { World } from './stack/world.ts';

const JOB_MS = 90_000;
const MOST_RESTORES = 12;
const READ_MS = 30_000;

export interface Finale {
  freedLast: Map<string, number>;
  restored: Map<string, string | null>;
  live: Map<string, string | null>;
  anomalies: string[];
}

export async function finale(
  world: World,
  clients: readonly Client[],
  seed: number,
  say: (line: string) => void,
): Promise<Finale> {
  const api = world.apis[seed % world.apis.length] as ApiClient;
  const freedLast = new Map<string, number>();
  for (const { id, name } of world.playground.pools) {
    await collected(api, id);
    freedLast.set(name, (await collected(api, id)) ?? 0);
  }
  const restored = await restoreSome(world, api, clients, seed);
  const live = new Map<string, string | null>();
  for (const client of clients) {
    for (const instance of client.model.instances.values()) {
      const { status, body } = await api.get(`/cdm_instances/${instance.id}`);
      if (status !== 200 || body.cdm_instance.state !== 'loaded') continue;
      live.set(
        instance.id,
        await readLive(body.cdm_instance.disks[0].uri as string, (bytes) => difference(instanceContent(instance), bytes)),
      );
    }
  }
  return { freedLast, restored, live, anomalies: await anomaliesOf(api, world.servers.mysql.address.url, say) };
}

/** Bytes that it freed; null where the job did not succeed, which the checks see as well. */
async function collected(api: ApiClient, pool: string): Promise<number | null> {
  const { body } = await api.ok('POST', `/pools/${pool}?action=gc`);
  const job = await api.succeeded(body['job-id'] as string, JOB_MS);
  return job.result?.summary?.freed_bytes ?? null;
}

async function restoreSome(
  world: World,
  api: ApiClient,
  clients: readonly Client[],
  seed: number,
): Promise<Map<string, string | null>> {
  const draw = new Random('restores', seed);
  const restored = new Map<string, string | null>();
  const there = new Set(
    ((await api.ok('GET', '/blocks?state=available&limit=1000')).body.blocks as { id: string }[]).map(({ id }) => id),
  );
  const known = clients.flatMap(({ model }) => [...model.blocks.values()]).filter(({ id }) => there.has(id));
  for (let i = 0; i < Math.min(MOST_RESTORES, known.length); i++) {
    const block = draw.pick(known);
    const node = draw.pick(world.playground.nodes);
    const path = join(world.playground.importDir(node), `finale-${i}.back`);
    const body = { target: { type: 'file', node_id: node, path } };
    const answer = await api.ok('POST', `/blocks/${block.id}?action=restore`, body);
    const job = answer.body['job-id'] as string;
    await api.succeeded(job, JOB_MS);
    restored.set(job, difference(block.content, await readFile(path)));
  }
  return restored;
}

async function readLive(uri: string, compare: (bytes: Buffer) => string | null): Promise<string | null> {
  const signal = AbortSignal.timeout(READ_MS);
  try {
    const disk = await connectNbd(uri, { signal });
    try {
      const bytes = Buffer.alloc(disk.disk.size);
      if (bytes.length > 0) await disk.read(0, bytes, signal);
      return compare(bytes);
    } finally {
      await disk.close();
    }
  } catch (error) {
    return `it cannot be read: ${(error as Error).message}`;
  }
}
