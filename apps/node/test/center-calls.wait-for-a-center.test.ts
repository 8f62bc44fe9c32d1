import { decodeJson, encodeJson } from '@openservice/protocol';
import { createLog } from '@openservice/runtime';
import { expect } from 'chai';
import type { NatsConnection } from 'nats';
import { Center } from '../src/center-calls.ts';
import { failure } from './jobs-bench.ts';

const never = new AbortController().signal;
const LOGIN = {
  access_key: 'key',
  nonce: 'n',
  issued_at: '2026-11-24T00:00:00Z',
  signature: 's',
  pool: 'p',
  block_id: null,
  right: 'read' as const,
};

/** A NATS of which only requests work: `answer` says what a center replies; throws while there is none. */
function centerOver(answer: (method: string, request: unknown) => unknown) {
  const asked: string[] = [];
  const nc = {
    async request(subject: string, data: Uint8Array) {
      const method = subject.split('.').at(-1) ?? '';
      asked.push(method);
      return { data: encodeJson(answer(method, decodeJson(data))) };
    },
  } as unknown as NatsConnection;
  return { asked, center: new Center({ nc, nodeId: 'node-1', log: createLog({ name: 'test', level: 'silent' }) }) };
}

const ok = (result: unknown) => ({ ok: true, result });

describe('calls to a center', () => {
  it('wait while none answers', async () => {
    let away = 2;
    const { asked, center } = centerOver(() => {
      if (away-- > 0) throw new Error('no responders');
      return ok({ recorded: true, reason: '' });
    });
    const result = { root_digest: null, size: null, replicas: [], verified: true, progress: null, damage: [] };
    const reply = await center.record({ job_id: 'job-a', attempt: 1, fence: 1, result }, never);
    expect(reply).to.deep.equal({ recorded: true, reason: '' });
    expect(asked).to.deep.equal(['record', 'record', 'record']);
  });

  it('stop waiting when the job is stopped', async () => {
    const stop = new AbortController();
    const { center } = centerOver(() => {
      stop.abort(new Error('stopped'));
      throw new Error('no responders');
    });
    const found = center.found({ job_id: 'job-a', attempt: 1, pool_id: 'pool-a', blocks: [] }, stop.signal);
    expect((await failure(found)).message).to.equal('stopped');
  });

  it('end with what the center says', async () => {
    const error = { code: 'pool_not_found', message: 'There is no pool pool-a.', transient: false };
    const { asked, center } = centerOver(() => ({ ok: false, error }));
    expect(await failure(center.poolSpec('pool-a', never))).to.include({ code: 'pool_not_found' });
    expect(asked).to.have.length(1);
  });

  it('for a token are made once, for each pool, block and right, while it is good', async () => {
    let expires_in_ms = 600_000;
    let count = 0;
    const { asked, center } = centerOver(() => ok({ token: `t${++count}`, expires_in_ms }));
    expect(await center.poolToken('p', 'b', 'read', never)).to.equal('t1');
    expect(await center.poolToken('p', 'b', 'read', never)).to.equal('t1');
    expect(await center.poolToken('p', 'b', 'write', never)).to.equal('t2');
    expect(await center.poolToken('p', null, 'read', never)).to.equal('t3');
    expires_in_ms = 1;
    expect(await center.poolToken('q', null, 'read', never)).to.equal('t4');
    const until = performance.now() + 5;
    while (performance.now() < until) await new Promise((resolve) => setImmediate(resolve));
    expect(await center.poolToken('q', null, 'read', never)).to.equal('t5');
    expect(asked).to.have.length(5);
  });

  it('for a token that a pool server refused are made anew, and the others stay', async () => {
    let count = 0;
    const { asked, center } = centerOver(() => ok({ token: `t${++count}`, expires_in_ms: 600_000 }));
    expect(await center.poolToken('p', 'b', 'read', never)).to.equal('t1');
    expect(await center.poolToken('p', 'b', 'write', never)).to.equal('t2');
    center.dropToken('t1');
    expect(await center.poolToken('p', 'b', 'read', never)).to.equal('t3');
    expect(await center.poolToken('p', 'b', 'write', never)).to.equal('t2');
    expect(asked).to.have.length(3);
  });

  it('for a login of another center’s client are tried once: the client waits', async () => {
    const { asked, center } = centerOver(() => {
      throw new Error('no responders');
    });
    expect(await failure(center.poolLogin(LOGIN))).to.include({ code: 'center_unavailable', outcome: 'transient' });
    expect(asked).to.deep.equal(['pool_login']);
  });
});
