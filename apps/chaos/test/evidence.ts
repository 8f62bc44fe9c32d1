/** Evidence in which everything holds: one import, one upload by move, one instance. Tests break it, one thing at a time. */
import type { Evidence } from '../src/checks/check.ts';
import { plain } from '../src/model/content.ts';
import type { Asked, Entry } from '../src/model/history.ts';
import { Model } from '../src/model/model.ts';

export const at = new Date('2026-11-25T00:00:00.000Z');
const disk = { size: 1000, seed: 'd' };
const asked = (key: string, kind: string, about: Asked['about'] = {}): Entry => ({
  ...{ type: 'asked', at: 1, step: 1, kind, key, method: 'PUT', path: '/blocks', body: null, about },
});
const told = (key: string, jobs: string[], block: string | null, instance: string | null = null): Entry => ({
  ...{ type: 'answered', at: 2, key, status: 202, code: null, jobs, block, instance, blocks: [] },
});

export const job = (id: string, kind: string, params: Record<string, unknown> = {}): Evidence['rows']['jobs'][number] => ({
  id,
  kind,
  state: 'succeeded',
  node_id: 'node-1',
  block_id: 'block-1',
  attempt: 1,
  fence: Number(id.slice(-1)),
  params,
  error_code: null,
  error_message: null,
  bytes_sent: 1000,
  created_at: at,
  finished_at: at,
});

export function soundEvidence(): Evidence {
  const pool = { id: 'pool-2', name: 'dedup-node-1', type: 'dedup', node: 'node-1', path: '/pool', prefix: null } as const;
  const digest = 'aa';
  return {
    rows: {
      jobs: [
        job('job-1', 'import', { block_id: 'block-1', pool_id: 'pool-1' }),
        job('job-2', 'move', { block: { id: 'block-1' }, from_pool_id: 'pool-1', pool_id: 'pool-2' }),
        job('job-3', 'load', { instance_id: 'ins-1' }),
      ],
      transitions: ['job-1', 'job-2', 'job-3'].map((job_id, id) => ({
        id,
        job_id,
        attempt: 1,
        from_state: 'running',
        to_state: 'succeeded',
        note: null,
        at,
      })),
      attempts: [1, 2, 3].map((fence) => ({ fence, job_id: `job-${fence}`, attempt: 1, node_id: 'node-1' })),
      claims: [],
      blocks: [
        {
          id: 'block-1',
          name: 'k1',
          state: 'available',
          size: 1000,
          root_digest: digest,
          error_code: null,
          content_node_id: null,
        },
      ],
      replicas: [{ block_id: 'block-1', pool_id: 'pool-2', state: 'available', verified_at: at, job_id: 'job-2' }],
      instances: [{ id: 'ins-1', node_id: 'node-1', state: 'loaded', error_message: null }],
      outbox: [],
      inbox: [{ job_id: 'job-1', attempt: 1, seq: 4, type: 'succeeded', applied: 1 }],
      deadLetters: [],
    },
    models: [
      Model.of([
        asked('k1', 'import', { content: plain(disk) }),
        told('k1', ['job-1'], 'block-1'),
        asked('k2', 'move', { block: 'block-1' }),
        told('k2', ['job-2'], 'block-1'),
        asked('k3', 'load', { block: 'block-1', node: 'node-1' }),
        told('k3', ['job-3'], null, 'ins-1'),
      ]),
    ],
    pools: [
      {
        pool,
        layout: 'packs',
        names: [
          'pool.json',
          'blocks/block-1/ledger/00000002',
          'blocks/block-1/0000000000000002/manifest',
          `packs/ab/${'ab'.repeat(32)}`,
          'gc/00000001',
        ],
        ledgers: new Map([['block-1', { state: 'committed', fence: 2, jobId: 'job-2', attempt: 1, detail: {} }]]),
        blocks: new Map([['block-1', { id: 'block-1', trashed: false, size: 1000, rootDigest: digest }]]),
        damaged: [],
      },
    ],
    journals: [{ node: 'node-1', unfinished: [], unsent: [] }],
    nodeFiles: new Map([['node-1', ['journal.db', 'run/nbd.sock', 'cache/x', 'instances/ins-1/instance.json']]]),
    openUploads: [],
    contents: new Map([['block-1 pool-2', null]]),
    restored: new Map(),
    live: new Map([['ins-1', null]]),
    freedLast: new Map([['dedup-node-1', 0]]),
    events: ['job-1', 'job-2', 'job-3'].map((job_id, id) => ({ id, type: 'job.succeeded', job_id })),
    ownEnds: [],
    pausedByClient: new Set(),
    anomalies: [],
  };
}
