import { expect } from 'chai';
import {
  commandSchema,
  decodeJson,
  encodeJson,
  eventSchema,
  isProbe,
  jobParams,
  probeSubject,
  rpcReply,
  subjects,
} from './support.ts';

const head = {
  v: 1,
  id: 'm1',
  job_id: 'job-1',
  attempt: 1,
  seq: 1,
  node: 'node-1',
  node_epoch: 5,
  sent_at: '2026-11-22T00:00:00.000Z',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
};

describe('messages', () => {
  it('survive their own encoding, and bytes that are no JSON are refused', () => {
    const command = {
      ...head,
      seq: 0,
      type: 'run',
      payload: { kind: 'delete', fence: 7, params: { block_id: 'b', pool_ids: [] }, priority: 2 },
    };
    const parsed = commandSchema.parse(decodeJson(encodeJson(command)));
    expect(parsed).to.deep.equal(command);
    // A center of before says nothing of priorities.
    const { priority: _, ...plain } = command.payload;
    expect(commandSchema.parse({ ...command, payload: plain })).to.have.nested.property('payload.priority', 5);
    expect(() => decodeJson(new Uint8Array([0xff, 0x00]))).to.throw();
  });

  it('of another version, without a fence, or of an unknown type are refused', () => {
    const run = { ...head, type: 'run', payload: { kind: 'delete', fence: 7, params: {} } };
    expect(commandSchema.safeParse({ ...run, v: 2 }).success).to.equal(false);
    expect(commandSchema.safeParse({ ...run, payload: { kind: 'delete', params: {} } }).success).to.equal(false);
    expect(commandSchema.safeParse({ ...run, type: 'explode' }).success).to.equal(false);
    expect(eventSchema.safeParse({ ...head, type: 'accepted', payload: {} }).success).to.equal(true);
    expect(eventSchema.safeParse({ ...head, attempt: 0, type: 'accepted', payload: {} }).success).to.equal(false);
  });

  it('never carry a secret: what a job is told names pools by id', () => {
    const block = { id: 'block-1', size: 1, chunk_size: 1, root_digest: '00' };
    const told = jobParams.upload.parse({ block, from_pool_id: 'a', pool_id: 'b', secret_key: 'x' });
    expect(told).to.not.have.property('secret_key');
  });

  it('go on subjects that carry the node at one place', () => {
    for (const subject of subjects('n7')) expect(subject.split('.')).to.include('n7');
    expect(isProbe(probeSubject('OPENSERVICE_CMD'))).to.equal(true);
    expect(isProbe(probeSubject('OPENSERVICE_EVT'))).to.equal(true);
    for (const subject of subjects('n7')) expect(isProbe(subject)).to.equal(false);
  });

  it('of a refusal say the code, the sentence, and whether trying again can help', () => {
    expect(rpcReply.safeParse({ ok: false, error: { code: 'x', message: 'y' } }).success).to.equal(false);
    expect(rpcReply.safeParse({ ok: false, error: { code: 'x', message: 'y', transient: true } }).success).to.equal(true);
  });
});
