import { z } from '@hono/zod-openapi';
import { bytes, nodeId, time } from './fields.ts';
import { listQuery, nameFilter, nextMarker } from './lists.ts';

const states = z.enum(['online', 'suspect', 'offline', 'draining', 'drained']);

export const listNodesQuery = listQuery(nodeId, { filter: nameFilter, state: states.optional() });

export const nodeView = z
  .object({
    id: z.string(),
    name: z.string(),
    state: states,
    epoch: bytes,
    version: z.string(),
    kinds: z.array(z.string()),
    pool_endpoint: z.string().nullable(),
    pool_fingerprint: z.string().nullable().openapi({ description: "SHA-256 of its pool server's certificate, hex." }),
    nbd_endpoint: z.string().nullable(),
    import_roots: z.array(z.string()),
    last_seen_at: time,
    created_at: time,
  })
  .openapi('Node');
export const nodeAnswer = z.object({ node: nodeView });
export const nodesAnswer = z.object({ nodes: z.array(nodeView), next_marker: nextMarker });
