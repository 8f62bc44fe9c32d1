/** Networks: each link refuses, is cut, cut in the middle of a message, slow, silent, or swallows what is sent. */

import type { World } from '../stack/world.ts';
import { CENTERS, NODES } from '../stack/world.ts';
import type { FaultKind } from './fault.ts';

const LINKS = [
  ...CENTERS.flatMap((center) => ['mysql', 'redis', 'nats'].map((server) => `${center}:${server}`)),
  ...NODES.flatMap((node) => ['redis', 'nats'].map((server) => `${node}:${server}`)),
  ...NODES.map((node) => `pools:${node}`),
  'nodes:s3-1',
  'nodes:s3-2',
];
const proxyOf = (world: World, target: string) => (world.links.names.includes(target) ? world.links.get(target) : null);

function linkFault(
  kind: string,
  weight: number,
  longest: number,
  on: (proxy: ProxyOf, ms: number) => void,
  off: (proxy: ProxyOf) => void,
): FaultKind {
  return {
    kind,
    weight,
    targets: LINKS,
    draw: (draw) => ({ forMs: draw.int(Math.min(500, longest), longest), detail: { ms: draw.int(20, 900) } }),
    async begin(world, { target, detail }) {
      const proxy = proxyOf(world, target);
      if (proxy === null) return false;
      on(proxy, Number(detail.ms));
      return true;
    },
    async end(world, { target }) {
      const proxy = proxyOf(world, target);
      if (proxy !== null) off(proxy);
    },
  };
}
type ProxyOf = NonNullable<ReturnType<typeof proxyOf>>;

export const refuseLink = linkFault(
  'link-refused',
  6,
  20_000,
  (proxy) => proxy.refuse(),
  (proxy) => proxy.allow(),
);
export const cutLink = linkFault(
  'link-reset',
  6,
  0,
  (proxy) => proxy.cut(),
  () => undefined,
);
export const halveLink = linkFault(
  'link-halved',
  6,
  0,
  (proxy) => proxy.halve(),
  () => undefined,
);
export const delayLink = linkFault(
  'link-delayed',
  5,
  20_000,
  (proxy, ms) => proxy.delay(ms),
  (proxy) => proxy.delay(0),
);
/** As when packets are lost for a while: all arrives in the end. */
export const stallLink = linkFault(
  'link-stalled',
  5,
  25_000,
  (proxy) => proxy.stall(true),
  (proxy) => proxy.stall(false),
);
/** As behind a firewall that has forgotten: nothing arrives, and afterwards the connections are reset. */
export const swallowLink = linkFault(
  'link-black-hole',
  5,
  25_000,
  (proxy) => proxy.drop(true),
  (proxy) => {
    proxy.cut();
    proxy.drop(false);
  },
);
