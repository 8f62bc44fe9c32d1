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
    max_jobs: z.int().nullable().openapi({ description: 'Jobs at a time; null: no limit.' }),
    bandwidth: z.number().nullable().openapi({ description: 'Bytes a second of all its jobs together; null: no limit.' }),
    last_seen_at: time,
    created_at: time,
  })
  .openapi('Node');
export const nodeAnswer = z.object({ node: nodeView });
/** `instances` of a node that is being drained stay there. */
export const nodeActed = z.object({ node: nodeView, instances: z.array(z.string()).optional() });
export const nodesAnswer = z.object({ nodes: z.array(nodeView), next_marker: nextMarker });
