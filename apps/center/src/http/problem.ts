/** RFC 9457 answers. The one table from an error's code to its HTTP status stands here. */
import { asOpenServiceError, OpenServiceError, TransientError } from '@openservice/domain';
import { isDatabaseAway } from '@openservice/store';
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { ClaimConflictError } from '../jobs/claims.ts';
import { Refusal } from '../services/refusal.ts';

const STATUS: Readonly<Record<string, ContentfulStatusCode>> = {
  invalid_json: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  pool_not_found: 404,
  set_not_found: 404,
  block_not_found: 404,
  cdm_instance_not_found: 404,
  job_not_found: 404,
  dead_letter_not_found: 404,
  webhook_not_found: 404,
  anomaly_not_found: 404,
  node_not_found: 404,
  replica_not_found: 404,
  access_key_not_found: 404,
  method_not_allowed: 405,
  block_busy: 409,
  block_in_use: 409,
  instance_busy: 409,
  instance_not_loaded: 409,
  instance_read_only: 409,
  already_hydrated: 409,
  pool_busy: 409,
  replica_busy: 409,
  resource_busy: 409,
  pool_in_use: 409,
  pool_exists: 409,
  pool_not_available: 409,
  set_empty: 409,
  set_not_empty: 409,
  name_taken: 409,
  block_not_available: 409,
  replica_exists: 409,
  replica_not_available: 409,
  no_reachable_replica: 409,
  last_replica: 409,
  node_draining: 409,
  node_not_online: 409,
  node_online: 409,
  job_finished: 409,
  job_not_retryable: 409,
  too_many_webhooks: 409,
  job_not_cancellable: 409,
  job_not_pausable: 409,
  job_not_paused: 409,
  block_not_trashed: 409,
  content_offset_mismatch: 409,
  content_not_expected: 409,
  node_without_pool_server: 409,
  idempotency_in_progress: 409,
  body_too_large: 413,
  unsupported_media_type: 415,
  internal: 500,
  node_unavailable: 503,
  database_unavailable: 503,
  database_busy: 503,
  too_many_streams: 503,
};

const HTTP_CODES: Readonly<Record<number, string>> = {
  400: 'invalid_json',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  405: 'method_not_allowed',
  413: 'body_too_large',
  415: 'unsupported_media_type',
};

const DATABASE_BUSY = new Set(['ER_LOCK_DEADLOCK', 'ER_LOCK_WAIT_TIMEOUT']);

export const databaseUnavailable = (cause?: unknown): TransientError =>
  new TransientError('database_unavailable', 'The database cannot be reached just now; nothing was changed, try again shortly.', {
    cause,
  });

export interface Problem {
  type: string;
  title: string;
  status: ContentfulStatusCode;
  code: string;
  detail: string;
  [extension: string]: unknown;
}

/** What the database's driver throws, in our words; null when the error is not the driver's. */
function fromDriver(error: unknown): OpenServiceError | null {
  if (!(error instanceof Error) || error instanceof OpenServiceError) return null;
  const driver = error as Error & { code?: unknown; driverError?: { code?: unknown } };
  const code = String(driver.driverError?.code ?? driver.code ?? '');
  if (DATABASE_BUSY.has(code)) {
    return new TransientError('database_busy', 'Others held the rows for too long; nothing was changed, try again.', {
      cause: error,
    });
  }
  // A center that starts answers before its migrations have run.
  if (isDatabaseAway(error) || code === 'ER_NO_SUCH_TABLE') return databaseUnavailable(error);
  return null;
}

function fromHttp(error: unknown): OpenServiceError | null {
  if (!(error instanceof HTTPException)) return null;
  const code = HTTP_CODES[error.status] ?? (error.status < 500 ? 'invalid_request' : 'internal');
  return new Refusal(code, error.message || `HTTP ${error.status}.`);
}

/** Any thrown value as a problem. What is unexpected says nothing of our insides; the log has it. */
export function toProblem(error: unknown): Problem {
  const known = fromHttp(error) ?? fromDriver(error) ?? asOpenServiceError(error);
  const fallback: ContentfulStatusCode = known.outcome === 'transient' ? 503 : known.outcome === 'permanent' ? 422 : 409;
  const status = STATUS[known.code] ?? fallback;
  const detail = known.code === 'internal' ? 'Something went wrong in the center; its log has the cause.' : known.message;
  const details = known instanceof Refusal ? known.details : known instanceof ClaimConflictError ? { job_id: known.jobId } : {};
  return { type: 'about:blank', title: known.code.replaceAll('_', ' '), status, code: known.code, detail, ...details };
}

export function sendProblem(c: Context, problem: Problem): Response {
  const headers: Record<string, string> = { 'Content-Type': 'application/problem+json', 'Cache-Control': 'no-store' };
  if (problem.status === 401) headers['WWW-Authenticate'] = 'Bearer realm="openservice"';
  if (problem.status === 503) headers['Retry-After'] = '2';
  if (problem.code === 'idempotency_in_progress') headers['Retry-After'] = '1';
  return c.body(JSON.stringify(problem), problem.status, headers);
}
