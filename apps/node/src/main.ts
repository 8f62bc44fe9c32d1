/** open-node: wiring only. */
import { readFileSync } from 'node:fs';
import { type Agent, createAgent } from '@openservice/agent';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { toFailure } from '@openservice/domain';
import { inboxPrefix } from '@openservice/protocol';
import { closeNats, connectNats, createLog, runProcess, serveNode } from '@openservice/runtime';
import type { NatsConnection } from 'nats';
import { type NodeConfig, readNodeConfig } from './config.ts';
import { ImportRoots } from './import-roots.ts';
import { makeHandlers } from './jobs/all.ts';
import { boundMemory } from './memory.ts';
import { Pools } from './pools-access.ts';
import { makeEndpoints } from './rpc/endpoints.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };

async function main(config: NodeConfig): Promise<void> {
  const { nodeId } = config;
  const log = createLog({ name: 'node', level: config.logLevel, fields: { node: nodeId } });
  const importRoots = new ImportRoots(config.importRoots);
  let nc: NatsConnection | undefined;
  let workers: ChunkWorkers | undefined;
  let pools: Pools | undefined;
  let agent: Agent | undefined;

  await runProcess(
    [
      {
        name: 'nats',
        start: async (signal) => {
          nc = await connectNats({ url: config.natsUrl, name: `node ${nodeId}`, inboxPrefix: inboxPrefix(nodeId), log, signal });
        },
        stop: async () => {
          if (nc !== undefined) await closeNats(nc);
        },
      },
      {
        name: 'agent',
        start: async () => {
          if (nc === undefined) throw new Error('NATS is connected first.');
          workers = createChunkWorkers();
          pools = new Pools({ nc, nodeId, environment: { workers }, log });
          agent = createAgent({
            nodeId,
            name: nodeId,
            version,
            dataDir: config.dataDir,
            nats: nc,
            redisUrl: config.redisUrl,
            handlers: makeHandlers({ pools, importRoots, workers }),
            describe: () => ({ import_roots: importRoots.list, pool_endpoint: null, nbd_endpoint: null }),
            log,
          });
          await serveNode(nc, nodeId, makeEndpoints({ agent, pools, importRoots }), { version, log });
          agent.start();
        },
        stop: async () => {
          await agent?.stop();
          await pools?.close();
          await workers?.close();
        },
      },
    ],
    { log, stopLimitMs: 15_000 },
  );
}

boundMemory();
let config: NodeConfig | undefined;
try {
  config = readNodeConfig(process.env);
} catch (error) {
  process.stderr.write(`${toFailure(error).message}\n`);
  process.exitCode = 1;
}
if (config !== undefined) await main(config);
