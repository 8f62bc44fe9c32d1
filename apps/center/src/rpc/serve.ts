/** The micro service `openservice-center`: one file a method. */
import { type Part, serveCenter } from '@openservice/runtime';
import type { Service } from 'nats';
import type { Plane } from '../plane.ts';
import type { Secrets } from '../secrets.ts';
import { heartbeat } from './heartbeat.ts';
import { pool } from './pool.ts';
import { prepare } from './prepare.ts';
import { sync } from './sync.ts';

export interface RpcOptions {
  secrets: Secrets;
  version: string;
  /** Told after commands were written. */
  poke(): void;
}

export function centerService(plane: Plane, options: RpcOptions): Part {
  let service: Service | null = null;
  return {
    name: 'rpc',
    async start() {
      service = await serveCenter(
        plane.nc,
        {
          sync: (request) => sync(plane, request, options.poke),
          heartbeat: (request) => heartbeat(plane, request),
          prepare: (request, node) => prepare(plane, request, node),
          pool: (request, node) => pool(plane, options.secrets, request, node),
        },
        { version: options.version, log: plane.log },
      );
    },
    async stop() {
      await service?.stop();
    },
  };
}
