/** The micro service `openservice-center`: one file a method. */
import { type Part, serveCenter } from '@openservice/runtime';
import type { Service } from 'nats';
import { noteEpoch } from '../anomalies/from-sync.ts';
import type { Plane } from '../plane.ts';
import { poolTokens } from '../pool-tokens.ts';
import type { Secrets } from '../secrets.ts';
import { found } from './found.ts';
import { heartbeat } from './heartbeat.ts';
import { pool } from './pool.ts';
import { poolLogin } from './pool-login.ts';
import { poolToken } from './pool-token.ts';
import { prepare } from './prepare.ts';
import { record } from './record.ts';
import { sync } from './sync.ts';

export interface RpcOptions {
  secrets: Secrets;
  version: string;
  /** How long a deleted block stays in the trash. */
  trashMs: number;
  /** Told after commands were written. */
  poke(): void;
}

export function centerService(plane: Plane, options: RpcOptions): Part {
  const { secrets, poke } = options;
  const tokens = poolTokens(secrets);
  let service: Service | null = null;
  return {
    name: 'rpc',
    async start() {
      service = await serveCenter(
        plane.nc,
        {
          sync: (request, node) => noteEpoch(plane, node, sync(plane, request, { poke, tokenKey: tokens.publicKey })),
          heartbeat: (request, node) => noteEpoch(plane, node, heartbeat(plane, request)),
          prepare: (request, node) => prepare(plane, request, node),
          record: (request, node) => record(plane, request, node),
          found: (request, node) => found(plane, options, request, node),
          pool: (request, node) => pool(plane, secrets, request, node),
          pool_token: (request, node) => poolToken(plane, tokens, request, node),
          pool_login: (request, node) => poolLogin(plane, secrets, tokens, request, node),
        },
        { version: options.version, log: plane.log },
      );
    },
    async stop() {
      await service?.stop();
    },
  };
}
