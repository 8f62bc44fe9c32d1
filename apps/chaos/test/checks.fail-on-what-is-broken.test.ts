import { expect } from 'chai';
import { CHECKS, violations } from '../src/checks/all.ts';
import type { Evidence } from '../src/checks/check.ts';
import { at, job, soundEvidence } from './evidence.ts';

type Rows = Evidence['rows'];
/** What breaks the sound evidence; the checker that must find it. */
const BROKEN: [check: string, what: string, change: (evidence: Evidence) => void][] = [
  ['jobs-end', 'an accepted job that nobody knows', ({ rows }) => void rows.jobs.splice(0, 1)],
  ['jobs-end', 'a job that still runs', ({ rows }) => void change(rows.jobs, { state: 'running' })],
  ['jobs-end', 'a job that rests though its client did not pause it', ({ rows }) => void change(rows.jobs, { state: 'paused' })],
  ['jobs-end', 'a job that failed without a reason', ({ rows }) => void change(rows.jobs, { state: 'failed' })],
  [
    'jobs-end',
    'a job that failed by a defect',
    ({ rows }) => void change(rows.jobs, { state: 'failed', error_code: 'internal', error_message: 'x' }),
  ],
  [
    'once-a-key',
    'one request that made two blocks',
    ({ rows }) => void rows.blocks.push({ ...first(rows.blocks), id: 'block-2' }),
  ],
  ['content-equal', 'a replica with other bytes', ({ contents }) => void set(contents, 'block-1 pool-2', '1 bytes differ')],
  ['content-equal', 'a replica that was not read', ({ contents }) => void (contents as Map<string, null>).clear()],
  ['content-equal', 'a damaged replica', ({ rows }) => void change(rows.replicas, { state: 'damaged' })],
  ['content-equal', 'a restored file with other bytes', ({ restored }) => void set(restored, 'job-9', 'it has 0 bytes')],
  ['nothing-lost', 'a block that is gone', ({ rows }) => void rows.blocks.splice(0, 1)],
  ['nothing-lost', 'a block in error', ({ rows }) => void change(rows.blocks, { state: 'error' })],
  ['nothing-lost', 'a block in the trash that nobody put there', ({ rows }) => void change(rows.blocks, { state: 'trashed' })],
  ['moves-keep-source', 'a moved block without a good replica', ({ rows }) => void rows.replicas.splice(0, 1)],
  ['moves-keep-source', 'a move whose target was not read back', ({ rows }) => void change(rows.replicas, { verified_at: null })],
  [
    'one-commit',
    'a job that ended twice',
    ({ rows }) => void rows.transitions.push({ ...first(rows.transitions), to_state: 'failed' }),
  ],
  ['one-commit', 'two successes of one job', ({ rows }) => void rows.inbox.push({ ...first(rows.inbox), attempt: 2 })],
  ['one-commit', 'two ends of one attempt', ({ rows }) => void rows.inbox.push({ ...first(rows.inbox), seq: 5, type: 'failed' })],
  ['one-commit', 'a commit of a job that is not known', ({ rows }) => void rows.jobs.splice(1, 1)],
  [
    'one-commit',
    'a commit under a fence of another attempt',
    ({ rows }) => void rows.attempts.splice(1, 1, { fence: 2, job_id: 'job-1', attempt: 2, node_id: 'node-1' }),
  ],
  [
    'one-commit',
    'a commit of a job that was cancelled',
    ({ rows }) => void rows.jobs.splice(1, 1, { ...job('job-2', 'upload'), state: 'cancelled' }),
  ],
  [
    'claims-held',
    'a claim of a job that has ended',
    ({ rows }) => void rows.claims.push({ resource: 'block:block-1', job_id: 'job-1', mode: 'exclusive' }),
  ],
  [
    'claims-held',
    'a claim of nobody',
    ({ rows }) => void rows.claims.push({ resource: 'block:block-1', job_id: 'job-0', mode: 'shared' }),
  ],
  [
    'claims-held',
    'a command for a job that has ended',
    ({ rows }) => void rows.outbox.push({ id: 1, type: 'run', job_id: 'job-1', attempt: 1, status: 'pending' }),
  ],
  ['leftovers-in-pools', 'an attempt in a ledger', ({ pools }) => void open(pools)],
  [
    'leftovers-in-pools',
    'a session record',
    ({ pools }) => void first(pools).names.push('sessions/block-1/0000000000000002-00000001'),
  ],
  [
    'leftovers-in-pools',
    "an older attempt's manifest",
    ({ pools }) => void first(pools).names.push('blocks/block-1/0000000000000001/manifest'),
  ],
  ['leftovers-in-pools', 'a temporary file', ({ pools }) => void first(pools).names.push('.TMP/x')],
  ['leftovers-in-pools', 'a probe', ({ pools }) => void first(pools).names.push('probe/x')],
  ['leftovers-in-pools', 'a part of a raw image', ({ pools }) => raw(pools, 'blocks/block-1/job-2.raw.part')],
  ['leftovers-in-pools', 'an upload in parts', ({ openUploads }) => void (openUploads as string[]).push('chaos/x')],
  [
    'leftovers-in-pools',
    'garbage that a collection passed over',
    ({ freedLast }) => void (freedLast as Map<string, number>).set('dedup-node-1', 7),
  ],
  [
    'leftovers-on-nodes',
    'content of a block that does not wait',
    ({ nodeFiles }) => void (nodeFiles.get('node-1') as string[]).push('content/block-1.content'),
  ],
  [
    'leftovers-on-nodes',
    'an instance that the center does not know',
    ({ nodeFiles }) => void (nodeFiles.get('node-1') as string[]).push('instances/ins-2/instance.json'),
  ],
  ['leftovers-on-nodes', 'a scratch file', ({ nodeFiles }) => void (nodeFiles.get('node-1') as string[]).push('run/x.tmp')],
  [
    'journals-empty',
    'an attempt in a journal',
    ({ journals }) => void first(journals).unfinished.push({ job_id: 'job-1', attempt: 1, kind: 'import', state: 'running' }),
  ],
  [
    'journals-empty',
    'an event that nobody took',
    ({ journals }) => void first(journals).unsent.push({ job_id: 'job-1', attempt: 1, seq: 9, type: 'succeeded' }),
  ],
  ['agreement', 'a replica that its pool does not have', ({ pools }) => void first(pools).blocks.clear()],
  [
    'agreement',
    'a block that its pool has in the trash',
    ({ pools }) => void set(first(pools).blocks, 'block-1', { id: 'block-1', trashed: true, size: 1000, rootDigest: 'aa' }),
  ],
  ['agreement', 'a block whose root digest is another', ({ rows }) => void change(rows.blocks, { root_digest: 'bb' })],
  [
    'agreement',
    'a block in a pool that the center does not know',
    ({ pools }) => void set(first(pools).blocks, 'block-9', { id: 'block-9', trashed: false, size: 1, rootDigest: 'aa' }),
  ],
  ['agreement', 'a replica left half-way', ({ rows }) => void change(rows.replicas, { state: 'deleting' })],
  ['agreement', 'a block that cannot be read', ({ pools }) => void first(pools).damaged.push({ block: 'block-1', why: 'x' })],
  [
    'agreement',
    'a block in the making that nobody makes',
    ({ rows }) => void rows.blocks.push({ ...first(rows.blocks), id: 'block-3', name: 'k9', state: 'creating' }),
  ],
  ['agreement', 'an anomaly', ({ anomalies }) => void (anomalies as string[]).push('unknown block')],
  ['instances-kept', 'an instance that is gone', ({ rows }) => void rows.instances.splice(0, 1)],
  ['instances-kept', 'an instance in error', ({ rows }) => void change(rows.instances, { state: 'error', error_message: 'x' })],
  ['instances-kept', 'an instance that lost what was flushed', ({ live }) => void set(live, 'ins-1', '10 bytes differ')],
  ['instances-kept', 'an instance that was not read', ({ live }) => void (live as Map<string, null>).clear()],
  [
    'dead-letters',
    'a message that nobody understood',
    ({ rows }) => void rows.deadLetters.push({ id: 1, subject: 'openservice.v1.evt.node-1.job-1.x', reason: 'x' }),
  ],
  [
    'no-defects',
    'a defect of a center',
    ({ models }) => void first(models).apply({ type: 'lost', at: 1, key: 'k1', why: '500 internal' }),
  ],
  ['events-told', 'a step that was not told', ({ events }) => void (events as Evidence['events'][number][]).pop()],
  [
    'events-told',
    'a step that was told twice',
    ({ events }) => void (events as Evidence['events'][number][]).push({ ...first(events), id: 9 }),
  ],
  [
    'events-told',
    'a gap',
    ({ events }) => void (events as Evidence['events'][number][]).push({ id: 9, type: 'gap', job_id: null }),
  ],
  ['events-told', 'events out of order', ({ events }) => void (events as Evidence['events'][number][]).reverse()],
  [
    'own-ends',
    'a process that ended by itself',
    ({ ownEnds }) => void (ownEnds as Evidence['ownEnds'][number][]).push({ name: 'node-1', how: 'exit 1', at: 1 }),
  ],
];

function first<T>(list: readonly T[]): T {
  const [one] = list;
  if (one === undefined) throw new Error('the sound evidence lacks it');
  return one;
}
const change = <T extends object>(list: readonly T[], more: Partial<T>) => Object.assign(first(list), more);
const set = <V>(map: ReadonlyMap<string, V>, key: string, value: V) => (map as Map<string, V>).set(key, value);
const open = (pools: Evidence['pools']) =>
  set(first(pools).ledgers, 'block-2', { state: 'open', fence: 9, jobId: 'job-1', attempt: 1, detail: {} });
function raw(pools: Evidence['pools'], name: string): void {
  const names = ['pool.json', 'blocks/block-1/disk.raw', 'blocks/block-1/digests', 'blocks/block-1/ledger/00000002'];
  Object.assign(first(pools), { layout: 'raw', names });
  if (violationsOf('leftovers-in-pools', { ...soundEvidence(), pools }).length > 0)
    throw new Error('a sound raw pool is called broken');
  first(pools).names.push(name);
}
const violationsOf = (check: string, evidence: Evidence) =>
  violations(
    evidence,
    CHECKS.filter(({ name }) => name === check),
  );

describe('the checks of a run', () => {
  it('find nothing where everything holds', () => {
    expect(violations(soundEvidence())).deep.equal([]);
  });

  for (const [check, what, breaks] of BROKEN) {
    it(`${check} finds ${what}`, () => {
      const evidence = soundEvidence();
      breaks(evidence);
      expect(violationsOf(check, evidence)).not.deep.equal([]);
    });
  }

  it('are each shown to fail', () => {
    expect(CHECKS.map(({ name }) => name).filter((name) => !BROKEN.some(([check]) => check === name))).deep.equal([]);
  });

  it('take a job that its client paused as explained, and a block that was deleted as gone', () => {
    const evidence = soundEvidence();
    const rows: Rows = evidence.rows;
    change(rows.jobs, { state: 'paused' });
    expect(violationsOf('jobs-end', { ...evidence, pausedByClient: new Set(['job-1']) })).deep.equal([]);

    const gone = soundEvidence();
    first(gone.models).apply({
      type: 'asked',
      at: 5,
      step: 2,
      kind: 'purge',
      key: 'k5',
      method: 'DELETE',
      path: '/',
      body: null,
      about: { block: 'block-1' },
    });
    gone.rows.jobs.push({ ...job('job-5', 'delete', { block_id: 'block-1', trash: false }), created_at: at });
    gone.rows.blocks.splice(0, 1);
    expect(violationsOf('nothing-lost', gone)).deep.equal([]);
  });
});
