import type { AppDeps } from '../http/deps.ts';
import { type App, actions, endpoint } from '../http/endpoint.ts';
import { cancel, getJob, listJobs, pause, resume, retry } from '../services/jobs.ts';
import * as schema from './schemas/jobs.ts';

const tag = 'jobs';

export function jobRoutes(app: App, deps: AppDeps): void {
  endpoint(
    app,
    { method: 'get', path: '/jobs', tag, summary: 'List jobs', query: schema.listJobsQuery, answers: { 200: schema.jobsAnswer } },
    ({ query }) => listJobs(deps.database, query),
  );
  endpoint(
    app,
    {
      method: 'get',
      path: '/jobs/{job_id}',
      id: 'job',
      tag,
      summary: 'One job with its history and result',
      answers: { 200: schema.jobAnswer },
    },
    ({ id }) => getJob(deps.database, id),
  );
  actions(
    app,
    {
      path: '/jobs/{job_id}',
      id: 'job',
      tag,
      summary: 'Cancel, pause, resume or retry a job',
      answers: { 202: schema.jobAccepted },
    },
    {
      cancel: { handle: ({ id, caller }) => cancel(deps, id, caller) },
      retry: { handle: ({ id, caller }) => retry(deps, id, caller) },
      pause: { handle: ({ id, caller }) => pause(deps, id, caller) },
      resume: { handle: ({ id, caller }) => resume(deps, id, caller) },
    },
  );
}
