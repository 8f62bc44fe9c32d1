/** What the API is asked while its database is small and while it is large: each finds as much in both. */
import { EMPTY_NODE } from './empty.ts';
import { A_SET, rowId } from './rows.ts';

export interface Question {
  name: string;
  /** Below the base path; `count`: blocks and jobs that there are. */
  path(count: number): string;
}

const any = (count: number): number => Math.floor(Math.random() * count);
/** So that a page is full behind it. */
const early = (count: number): number => any(count * 0.5);
const late = (count: number): number => count - 1 - early(count);
const PAGE = 'limit=20';
const POOL = rowId('pool', 1);

const list = (name: string, path: string): Question => ({ name, path: () => `${path}${path.includes('?') ? '&' : '?'}${PAGE}` });
const after = (name: string, kind: 'job' | 'block', path: string, from = early): Question => ({
  name: `${name}, behind a marker`,
  path: (count) => `${path}${path.includes('?') ? '&' : '?'}${PAGE}&marker=${rowId(kind, from(count))}`,
});
const both = (name: string, kind: 'job' | 'block', path: string, from = early): Question[] => [
  list(name, path),
  after(name, kind, path, from),
];

export const QUESTIONS: readonly Question[] = [
  { name: 'a job', path: (count) => `/jobs/${rowId('job', any(count))}` },
  { name: 'a block', path: (count) => `/blocks/${rowId('block', any(count))}` },
  { name: 'a set', path: (count) => `/sets/${rowId('set', Math.floor(any(count) / A_SET))}` },
  ...both('jobs', 'job', '/jobs'),
  ...both('jobs by -id', 'job', '/jobs?sort=-id', late),
  ...both('jobs by created_at', 'job', '/jobs?sort=created_at'),
  ...both('jobs by -created_at', 'job', '/jobs?sort=-created_at', late),
  list('jobs, state', '/jobs?state=failed'),
  list('jobs, state, by -id', '/jobs?state=failed&sort=-id'),
  list('jobs, state, by -created_at', '/jobs?state=failed&sort=-created_at'),
  list('jobs, a state of most, by -created_at', '/jobs?state=succeeded&sort=-created_at'),
  list('jobs, a state of none, by -created_at', '/jobs?state=paused&sort=-created_at'),
  ...both('jobs, kind', 'job', '/jobs?kind=verify'),
  ...both('jobs, kind, by -created_at', 'job', '/jobs?kind=verify&sort=-created_at', late),
  ...both('jobs, node', 'job', `/jobs?node_id=${EMPTY_NODE}`),
  ...both('jobs, node, by -created_at', 'job', `/jobs?node_id=${EMPTY_NODE}&sort=-created_at`, late),
  list('jobs, node and state', `/jobs?node_id=${EMPTY_NODE}&state=failed`),
  list('jobs, node, state, by -created_at', `/jobs?node_id=${EMPTY_NODE}&state=failed&sort=-created_at`),
  list('jobs, kind and state', '/jobs?kind=upload&state=succeeded&sort=-id'),
  { name: 'jobs, block', path: (count) => `/jobs?block_id=${rowId('block', any(count))}` },
  {
    name: 'jobs, set, by -created_at',
    path: (count) => `/jobs?set_id=${rowId('set', Math.floor(any(count) / A_SET))}&sort=-created_at&${PAGE}`,
  },
  ...both('blocks', 'block', '/blocks'),
  ...both('blocks by name', 'block', '/blocks?sort=name'),
  ...both('blocks by -created_at', 'block', '/blocks?sort=-created_at', late),
  list('blocks, state', '/blocks?state=error'),
  list('blocks, state, by -created_at', '/blocks?state=error&sort=-created_at'),
  list('blocks, state, by name', '/blocks?state=error&sort=name'),
  ...both('blocks, pool', 'block', `/blocks?pool_id=${POOL}`),
  ...both('blocks, pool, by -created_at', 'block', `/blocks?pool_id=${POOL}&sort=-created_at`, late),
  list('blocks, pool, by name', `/blocks?pool_id=${POOL}&sort=name`),
  { name: 'blocks, set', path: (count) => `/blocks?set_id=${rowId('set', Math.floor(any(count) / A_SET))}&sort=name&${PAGE}` },
  list('blocks, part of a name of many', '/blocks?filter=12'),
  list('blocks, part of a name of many, by name', '/blocks?filter=12&sort=name'),
  { name: 'blocks, part of a name of one', path: (count) => `/blocks?filter=${nameOf(any(count))}` },
  list('sets by name', '/sets?sort=name'),
  list('sets by -created_at', '/sets?sort=-created_at'),
  list('pools', '/pools'),
  list('nodes', '/nodes'),
];

/** As rows.ts names them. */
const nameOf = (n: number): string => String((n * 7919) % 1_000_003).padStart(7, '0');
