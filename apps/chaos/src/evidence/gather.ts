/** All that the checks look at. Centers and nodes have stopped; servers run, and links are passed by. */
import { existsSync, readFileSync } from 'node:fs';
import { createChunkWorkers } from '@openservice/codec';
import type { Evidence } from '../checks/check.ts';
import type { Client } from '../client/client.ts';
import type { SeenEvent } from '../client/watcher.ts';
import type { Finale } from '../finale.ts';
import { type Content, difference } from '../model/content.ts';
import type { World } from '../stack/world.ts';
import { filesBelow } from './files.ts';
import { readJournal } from './journals.ts';
import { openPlace, openUploads, type PoolEvidence, readBlock } from './pools.ts';
import { readRows } from './rows.ts';

export async function gather(
  world: World,
  clients: readonly Client[],
  events: readonly SeenEvent[],
  told: Finale,
): Promise<Evidence> {
  const rows = await readRows(world.servers.mysql.address.url);
  const s3 = world.servers.s3.address;
  const models = clients.map(({ model }) => model);
  const written = new Map<string, Content>(
    models.flatMap((model) => [...model.blocks.values()].map(({ id, content }) => [id, content])),
  );
  const contents = new Map<string, string | null>();
  const pools: PoolEvidence[] = [];
  const workers = createChunkWorkers();
  try {
    for (const place of world.playground.pools) {
      const opened = await openPlace(place, s3, workers);
      pools.push(opened.evidence);
      for (const { block_id, state } of rows.replicas.filter(({ pool_id }) => pool_id === place.id)) {
        if (state !== 'available') continue;
        const content = written.get(block_id);
        const key = `${block_id} ${place.id}`;
        // A block of whose making the client was never told; its name says whose it is, not what it holds.
        if (content === undefined) contents.set(key, 'no client wrote it');
        else {
          const read = await readBlock(opened.pool, block_id).catch((error: Error) => error);
          contents.set(key, read instanceof Error ? `it cannot be read: ${read.message}` : difference(content, read));
        }
      }
      await opened.close();
    }
  } finally {
    await workers.close();
  }
  return {
    rows,
    models,
    pools,
    journals: world.nodes.map(({ name, dataDir }) => readJournal(name, dataDir)),
    nodeFiles: new Map(world.nodes.map(({ name, dataDir }) => [name, filesBelow(dataDir)])),
    openUploads: await openUploads(s3),
    contents,
    restored: new Map([...told.restored, ...restoredFiles(models, rows.jobs)]),
    live: told.live,
    freedLast: told.freedLast,
    events,
    ownEnds: world.ownEnds,
    pausedByClient: new Set(),
    anomalies: told.anomalies,
  };
}

/** Files of restores that succeeded. */
function restoredFiles(models: Evidence['models'], jobs: Evidence['rows']['jobs']): [string, string | null][] {
  const states = new Map(jobs.map(({ id, state }) => [id, state]));
  return models.flatMap((model) =>
    [...model.jobs.values()].flatMap(({ id, origin }): [string, string | null][] => {
      const { path, block } = origin.about;
      const content = model.blocks.get(block ?? '')?.content;
      if (path === undefined || content === undefined || states.get(id) !== 'succeeded') return [];
      return [[id, existsSync(path) ? difference(content, readFileSync(path)) : 'the file is not there']];
    }),
  );
}
