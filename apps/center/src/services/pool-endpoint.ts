/** Where a node's pool server listens, as the node tells it: `http(s)://host:port`. */
import type { Node } from '@openservice/store';

export interface PoolEndpoint {
  /** A name in lower case or an address; IPv6 without brackets. */
  host: string;
  port: number;
  https: boolean;
}

/** Null where the node runs no pool server. */
export function poolEndpointOf(node: Pick<Node, 'pool_endpoint'>): PoolEndpoint | null {
  if (node.pool_endpoint === null || !URL.canParse(node.pool_endpoint)) return null;
  const url = new URL(node.pool_endpoint);
  const https = url.protocol === 'https:';
  return { host: plainHost(url.hostname), port: url.port === '' ? (https ? 443 : 80) : Number(url.port), https };
}

export function plainHost(host: string): string {
  return host.replaceAll(/^\[|\]$/g, '').toLowerCase();
}
