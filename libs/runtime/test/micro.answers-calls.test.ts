import { FencedError, newId, PermanentError, TransientError } from '@openservice/domain';
import { encodeJson } from '@openservice/protocol';
import { expect } from 'chai';
import type { NatsConnection } from 'nats';
import {
  type CenterEndpoints,
  callCenter,
  callNode,
  closeNats,
  connectNats,
  createLog,
  type NodeEndpoints,
  serveCenter,
  serveNode,
  tellNode,
} from '../src/index.ts';

const log = createLog({ name: 'test', level: 'silent' });
const url = process.env.OPENSERVICE_TEST_NATS_URL;

async function errorOf(work: Promise<unknown>): Promise<{ code: string; message: string; name: string }> {
  try {
    await work;
  } catch (error) {
    return error as { code: string; message: string; name: string };
  }
  throw new Error('No error came.');
}

describe('micro services', () => {
  let nc: NatsConnection;
  // A center answers for every node, so the tests of one share a node id that nobody else asks with.
  const node = newId('node');
  let told: (events: unknown) => void = () => undefined;

  before(async function () {
    if (url === undefined) {
      console.log('      skipped: OPENSERVICE_TEST_NATS_URL is not set (npm test sets it)');
      this.skip();
    }
    nc = await connectNats({ url, name: 'test', log, signal: AbortSignal.timeout(5000) });
  });
  after(async () => {
    if (nc) await closeNats(nc);
  });

  it('says that no center, or no node, answers', async () => {
    const call = callCenter(nc, node, 'pool', { pool_id: 'p' }, { timeoutMs: 500 });
    expect(await errorOf(call)).to.include({ code: 'center_unavailable', name: 'TransientError' });
    const have = callNode(nc, node, 'have', { events: [] }, { timeoutMs: 500 });
    expect(await errorOf(have)).to.include({ code: 'node_unavailable', name: 'TransientError' });
  });

  it('carries requests, replies and errors of a center', async () => {
    const endpoints = {
      heartbeat: async () => ({ lease_ms: 5, sync: true }),
      pool: async ({ pool_id }: { pool_id: string }) => {
        if (pool_id === 'p') throw new PermanentError('pool_not_found', 'Pool p is not there.');
        throw new TransientError('mysql_away', 'MySQL is away.');
      },
      prepare: async () => {
        throw new FencedError('too late');
      },
      sync: async () => {
        throw new Error('broken');
      },
    } as unknown as CenterEndpoints;
    const service = await serveCenter(nc, endpoints, { version: '0.0.1', log });
    try {
      const reply = await callCenter(nc, node, 'heartbeat', { node_id: node, epoch: 1 }, { timeoutMs: 2000 });
      expect(reply).to.deep.equal({ lease_ms: 5, sync: true });
      const permanent = await errorOf(callCenter(nc, node, 'pool', { pool_id: 'p' }, { timeoutMs: 2000 }));
      expect(permanent).to.include({ code: 'pool_not_found', name: 'PermanentError', message: 'Pool p is not there.' });
      const transient = await errorOf(callCenter(nc, node, 'pool', { pool_id: 'q' }, { timeoutMs: 2000 }));
      expect(transient).to.include({ code: 'mysql_away', name: 'TransientError' });
      const other = await errorOf(callCenter(nc, node, 'heartbeat', { node_id: 'someone', epoch: 1 }, { timeoutMs: 2000 }));
      expect(other.code).to.equal('node_mismatch');
      const bad = await errorOf(callCenter(nc, node, 'heartbeat', { node_id: node, epoch: -1 }, { timeoutMs: 2000 }));
      expect(bad).to.include({ code: 'invalid_request' });
      expect(bad.message).to.include('epoch');
      const sync = { node_id: node, name: 'n', epoch: 1, version: '1', kinds: [], held: [], instances: [], import_roots: [] };
      const request = { ...sync, pool_endpoint: null, pool_fingerprint: null, nbd_endpoint: null };
      const unexpected = await errorOf(callCenter(nc, node, 'sync', request, { timeoutMs: 2000 }));
      expect(unexpected).to.include({ code: 'internal', name: 'TransientError' });
    } finally {
      await service.stop();
    }
  });

  it('answers what a center asks of a node, and can be told without a reply', async () => {
    const endpoints = {
      source_probe: async () => ({ size: 7 }),
      have: async ({ events }: { events: unknown }) => {
        told(events);
        return {};
      },
    } as unknown as NodeEndpoints;
    const service = await serveNode(nc, node, endpoints, { version: '0.0.1', log });
    try {
      const source = { type: 'file' as const, path: '/x', format: null };
      expect(await callNode(nc, node, 'source_probe', { source }, { timeoutMs: 2000 })).to.include({ size: 7, format: 'raw' });
      const heard = new Promise((resolve) => {
        told = resolve;
      });
      tellNode(nc, node, 'have', { events: [{ job_id: 'j', attempt: 1, seq: 1 }] });
      expect(await heard).to.deep.equal([{ job_id: 'j', attempt: 1, seq: 1 }]);
      const reply = await nc.request(`openservice.v1.rpc.${node}.source_probe`, encodeJson({}), { timeout: 2000 });
      expect(reply.string()).to.include('invalid_request');
    } finally {
      await service.stop();
    }
  });

  it('waits for a server that is not there until the signal fires', async () => {
    const abort = new AbortController();
    const waiting = connectNats({ url: 'nats://127.0.0.1:9', name: 'test', log, signal: abort.signal });
    setTimeout(() => abort.abort(new Error('enough')), 50);
    expect(await errorOf(waiting)).to.include({ message: 'enough' });
  });
});
