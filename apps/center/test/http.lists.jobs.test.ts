import { newId } from '@openservice/domain';
import { expect } from 'chai';
import { type HttpCenter, httpCenter } from './support/http-center.ts';

interface Shown {
  id: string;
  kind: string;
  state: string;
  node_id: string;
  created_at: string;
}

describe('http: lists of jobs', () => {
  let center: HttpCenter;
  const made: Omit<Shown, 'created_at'>[] = [];

  before(async function () {
    this.timeout(30_000);
    const there = await httpCenter();
    if (there === null) return this.skip();
    center = there;
    for (let i = 0; i < 90; i++) {
      const job = {
        id: newId('job'),
        kind: ['verify', 'import'][i % 2] ?? '',
        state: ['succeeded', 'failed', 'cancelled'][i % 3] ?? '',
        node_id: `n-${i % 4}`,
      };
      made.push(job);
      // Most tie in their time.
      await center.database.query(
        `INSERT INTO jobs (id, kind, state, node_id, attempt, fence, params, claims, traceparent, created_at)
         VALUES (?, ?, ?, ?, 1, 1, '{}', '[]', '', ?)`,
        [job.id, job.kind, job.state, job.node_id, new Date(Date.UTC(2026, 0, 1, 0, 0, i % 5))],
      );
    }
  });
  after(() => center?.stop());

  for (const filters of [
    {},
    { state: 'failed' },
    { kind: 'verify' },
    { node_id: 'n-3' },
    { kind: 'import', state: 'cancelled' },
  ]) {
    for (const sort of ['id', '-id', 'created_at', '-created_at']) {
      const words = new URLSearchParams({ ...filters, sort }).toString();
      it(`?${words} shows each once, page by page, in order`, async () => {
        const seen: Shown[] = [];
        for (let marker: string | null = ''; marker !== null; ) {
          const { body } = await center.send('GET', `jobs?${words}&limit=7${marker && `&marker=${marker}`}`);
          seen.push(...body.jobs);
          marker = body.next_marker;
        }
        const fits = (job: Omit<Shown, 'created_at'>): boolean =>
          Object.entries(filters).every(([name, value]) => job[name as keyof typeof job] === value);
        expect(seen.map(({ id }) => id).toSorted()).to.deep.equal(
          made
            .filter(fits)
            .map(({ id }) => id)
            .toSorted(),
        );
        const column = sort.replace('-', '') as 'id' | 'created_at';
        const keys = seen.map((job) => `${job[column]} ${job.id}`);
        expect(sort.startsWith('-') ? keys.toReversed() : keys).to.deep.equal(keys.toSorted());
      });
    }
  }

  it('are none where nothing fits', async () => {
    const { body } = await center.send('GET', 'jobs?state=paused&sort=-created_at');
    expect(body).to.deep.equal({ jobs: [], next_marker: null });
  });
});
