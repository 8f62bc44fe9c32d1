/** Jobs: reading them, and what people may ask of them. */
import type { JobKind, JobState } from '@openservice/domain';
import { type DataSource, type Job, JobSchema, JobTransitionSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { cancelJob } from '../jobs/cancel-job.ts';
import { pauseJob, resumeJob } from '../jobs/pause-job.ts';
import { retryJob } from '../jobs/retry-job.ts';
import { audit } from '../jobs/submit-job.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { type PageRequest, page } from './paging.ts';
import { notFound } from './refusal.ts';
import { jobView, transitionView } from './views.ts';
import { waitingFor } from './waiting-jobs.ts';

export interface JobFilters {
  state?: JobState | undefined;
  kind?: JobKind | undefined;
  node_id?: string | undefined;
  block_id?: string | undefined;
  set_id?: string | undefined;
}

/**
 * Where one filter and the order have an index together, MariaDB takes it, and yet begins at its end instead of at the marker (it compares what lies
 * behind the marker with the whole table, and does not think of the LIMIT), unless it is forced. Null: the server knows better.
 */
function indexFor(request: PageRequest & JobFilters): string | null {
  if (!request.sort.endsWith('created_at')) return null;
  const given = FILTERS.filter((column) => request[column] !== undefined);
  return given.length === 1 ? (INDEXES[given[0] ?? 'set_id'] ?? null) : null;
}

const queryJobs = (database: DataSource) => database.getRepository(JobSchema).createQueryBuilder('t');
type JobQuery = ReturnType<typeof queryJobs>;

/** As getMany, with the index that the query is to use as the only way into the table; TypeORM can only advise one. */
async function forced(database: DataSource, query: JobQuery): Promise<Job[]> {
  const [sql, parameters] = query.select('t.id', 'id').getQueryAndParameters();
  const found = await database.query<{ id: string }[]>(sql.replace(' USE INDEX (', ' FORCE INDEX ('), parameters);
  if (found.length === 0) return [];
  const ids = found.map(({ id }) => id);
  const jobs = await queryJobs(database).where('t.id IN (:...ids)', { ids }).getMany();
  const byId = new Map(jobs.map((job) => [job.id, job]));
  return found.flatMap(({ id }) => byId.get(id) ?? []);
}

const FILTERS = ['state', 'kind', 'node_id', 'block_id', 'set_id'] as const;
const INDEXES: Partial<Record<(typeof FILTERS)[number], string>> = {
  state: 'jobs_state_created',
  kind: 'jobs_kind_created',
  node_id: 'jobs_node_created',
};

export async function listJobs(database: DataSource, request: PageRequest & JobFilters): Promise<Answer> {
  const jobs = database.getRepository(JobSchema);
  const query = queryJobs(database).where('1 = 1');
  for (const column of FILTERS) {
    if (request[column] !== undefined) query.andWhere(`t.${column} = :${column}`, { [column]: request[column] });
  }
  const index = indexFor(request);
  if (index !== null) query.useIndex(index);
  const read = index === null ? () => query.getMany() : () => forced(database, query);
  const { rows, nextMarker } = await page(query, request, (id) => jobs.findOneBy({ id }), read);
  const waiting = await waitingFor(database, rows);
  return { status: 200, body: { jobs: rows.map((job) => jobView(job, waiting.get(job.id) ?? null)), next_marker: nextMarker } };
}

const SHOWN_STEPS = 500;

export async function getJob(database: DataSource, id: string): Promise<Answer> {
  const job = await database.getRepository(JobSchema).findOneBy({ id });
  if (job === null) throw notFound('job', id);
  const newest = await database
    .getRepository(JobTransitionSchema)
    .find({ where: { job_id: id }, order: { id: 'DESC' }, take: SHOWN_STEPS });
  const view = jobView(job, (await waitingFor(database, [job])).get(id) ?? null);
  return { status: 200, body: { job: { ...view, result: job.result, history: newest.reverse().map(transitionView) } } };
}

export async function cancel(deps: AppDeps, id: string, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    await cancelJob(manager, id, `Cancelled over the API by ${caller.tokenId}.`);
    return { status: 202, body: { 'job-id': id }, location: jobLocation(id) };
  });
  deps.relay.poke();
  return answer;
}

/** A failed or cancelled job is tried again as a new job; the answer names the new one. */
export async function retry(deps: AppDeps, id: string, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const { jobId } = await retryJob(manager, id, caller.tokenId);
    return { status: 202, body: { 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}

/** It stops at its next checkpoint, on its node's word; at once where its node has not heard of it. */
export async function pause(deps: AppDeps, id: string, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    await pauseJob(manager, id, `token ${caller.tokenId}`);
    await audit(manager, caller.tokenId, 'job.pause', id, {});
    return { status: 202, body: { 'job-id': id }, location: jobLocation(id) };
  });
  deps.relay.poke();
  return answer;
}

/** A paused job goes on, or a pause is taken back that has not taken effect. */
export async function resume(deps: AppDeps, id: string, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    await resumeJob(manager, id, `token ${caller.tokenId}`);
    await audit(manager, caller.tokenId, 'job.resume', id, {});
    return { status: 202, body: { 'job-id': id }, location: jobLocation(id) };
  });
  deps.relay.poke();
  return answer;
}
