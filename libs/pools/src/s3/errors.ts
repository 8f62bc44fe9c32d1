/** What an S3 server or its absence answers, as the errors of the backend's port. No message carries a secret. */
import { CancelledError, OpenServiceError, PermanentError, TransientError } from '@openservice/domain';
import { ObjectNotFoundError } from '../backend.ts';

interface SdkError extends Error {
  code?: string;
  Code?: string;
  $metadata?: { httpStatusCode?: number };
  $response?: { statusCode?: number; headers?: Record<string, string> };
}

const REFUSED = new Set([
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'AccessDenied',
  'Forbidden',
  'AccountProblem',
  'AllAccessDisabled',
]);
const REDIRECTED = new Set([
  'PermanentRedirect',
  'TemporaryRedirect',
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
]);
const FULL = new Set(['QuotaExceeded', 'InsufficientStorage', 'XMinioStorageFull', 'EntityTooLarge', 'InsufficientCapacity']);
const BUSY = new Set([
  'SlowDown',
  'ServiceUnavailable',
  'InternalError',
  'RequestTimeout',
  'Throttling',
  'ThrottlingException',
  'TooManyRequests',
  'OperationAborted',
  'ConditionalRequestConflict',
]);
const UNREACHED = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);
const BROKEN = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ECONNABORTED', 'ERR_STREAM_PREMATURE_CLOSE']);
const TLS = /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_TLS_)/;

/** True for a failure before any byte of the body can have left. */
export function neverConnected(error: unknown): boolean {
  return UNREACHED.has((error as SdkError).code ?? '');
}

/** True where the server refused a conditional PUT because the key is taken. */
export function isTaken(error: unknown): boolean {
  const { name, status } = facts(error as SdkError);
  return status === 412 || name === 'PreconditionFailed' || name === 'FileAlreadyExists' || name === 'ObjectAlreadyExists';
}

export function isMissing(error: unknown): boolean {
  const { name, status } = facts(error as SdkError);
  return name === 'NoSuchKey' || name === 'NotFound' || (status === 404 && name !== 'NoSuchBucket');
}

/** `where`: the backend's name; `key`: what was asked for. */
export function mapS3Error(error: unknown, where: string, key: string | null): OpenServiceError {
  if (error instanceof OpenServiceError) return error;
  const known = error as SdkError;
  const { name, code, status } = facts(known);
  const options = { cause: error };
  if (name === 'AbortError') return new CancelledError('The work was stopped.', options);
  if (name === 'NoSuchBucket')
    return new PermanentError('bucket_not_found', `There is no ${where}; create the bucket or correct its name.`, options);
  if (REDIRECTED.has(name) || status === 301 || status === 307) {
    return new PermanentError(
      'wrong_region',
      `The ${where} lies in another region or at another endpoint; correct the pool's region and endpoint.`,
      options,
    );
  }
  if (name === 'RequestTimeTooSkewed') {
    return new PermanentError(
      'clock_skewed',
      `This machine's clock differs too much from that of the ${where}; set the time right.`,
      options,
    );
  }
  // A 507, or a 503 with a reason that says so, means that trying again alone will not help.
  if (FULL.has(name) || status === 507)
    return new PermanentError('no_space', `The ${where} takes no more data: its quota or disk is full.`, options);
  if (UNREACHED.has(code))
    return new TransientError(
      'unreachable',
      `The ${where} could not be reached (${code}); check the endpoint and the network.`,
      options,
    );
  if (BROKEN.has(code) || name === 'TimeoutError') {
    return new TransientError(
      'unreachable',
      `The connection to the ${where} broke or gave no answer (${code || 'time-out'}).`,
      options,
    );
  }
  if (TLS.test(code))
    return new PermanentError('tls_untrusted', `The certificate of the ${where} is not trusted (${code}).`, options);
  if (BUSY.has(name) || status === 429 || (status >= 500 && status !== 501 && status !== 505)) {
    return new TransientError('slow_down', `The ${where} asks for patience (${status || 'no status'} ${name}).`, options);
  }
  if (notS3(known, code, name)) {
    return new PermanentError(
      'endpoint_invalid',
      `What answers at the ${where} is no S3 server; correct the endpoint and its http or https.`,
      options,
    );
  }
  if (REFUSED.has(name) || status === 403 || status === 401) {
    return new PermanentError(
      'access_denied',
      `The S3 server refused the access key for ${where} (${name}); correct the pool's keys or their rights.`,
      options,
    );
  }
  if (key !== null && isMissing(known)) return new ObjectNotFoundError(key, where);
  if (name === 'BadDigest' || name === 'InvalidDigest' || name === 'IncompleteBody') {
    return new TransientError('damaged_on_the_way', `Bytes were damaged on the way to the ${where} (${name}).`, options);
  }
  return new PermanentError('s3_refused', `The ${where} refused the request (${status || 'no status'} ${name}).`, options);
}

function facts(error: SdkError): { name: string; code: string; status: number } {
  const status = error.$metadata?.httpStatusCode ?? error.$response?.statusCode ?? 0;
  return { name: error.Code ?? error.name ?? 'Error', code: error.code ?? '', status };
}

function notS3(error: SdkError, code: string, name: string): boolean {
  if (code.startsWith('HPE_') || code === 'EPROTO' || code.startsWith('ERR_SSL')) return true;
  const type = error.$response?.headers?.['content-type'] ?? '';
  if (/html|json/.test(type)) return true;
  return name === 'SyntaxError' || /Deserialization error|is not expected|Unclosed|XML/.test(error.message ?? '');
}
