import { asOpenServiceError, CancelledError, type OpenServiceError, PermanentError, TransientError } from '@openservice/domain';

/** Errno values of the protocol. */
const SENTENCES: Record<number, [code: string, what: string]> = {
  1: ['nbd_refused', 'does not permit it (EPERM); it may be read-only'],
  5: ['nbd_io_error', 'reported an I/O error (EIO); look at its disk'],
  12: ['nbd_io_error', 'has no memory left (ENOMEM)'],
  22: ['nbd_protocol', 'takes the request for invalid (EINVAL)'],
  28: ['no_space', 'has no space left (ENOSPC)'],
  75: ['nbd_protocol', 'takes the request for too large (EOVERFLOW)'],
  95: ['nbd_protocol', 'does not support the request (ENOTSUP)'],
};
const ENOMEM = 12;
const ESHUTDOWN = 108;

/** What the server answered to a request. `what`: `reading 4096 bytes from 0 on`. */
export function replyError(server: string, what: string, errno: number, message: string): OpenServiceError {
  const words = message === '' ? '' : ` It says: ${message}`;
  if (errno === ESHUTDOWN) return new TransientError('unreachable', `${server} is shutting down, while ${what}.${words}`);
  const [code, why] = SENTENCES[errno] ?? ['nbd_io_error', `failed with error ${errno}`];
  const text = `${server} ${why}, while ${what}.${words}`;
  return errno === ENOMEM ? new TransientError(code, text) : new PermanentError(code, text);
}

export function protocolError(server: string, what: string): PermanentError {
  return new PermanentError('nbd_protocol', `${server} does not keep to the NBD protocol: ${what}.`);
}

/** Why work ended whose signal has fired: a caller's limit of time is no wish to stop. */
export function stopped(server: string, signal: AbortSignal): OpenServiceError {
  const { reason } = signal;
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new TransientError('nbd_timeout', `${server} did not answer in the time that was given.`, { cause: reason });
  }
  return new CancelledError('The work was stopped.', { cause: reason });
}

export function lost(server: string, cause?: unknown): OpenServiceError {
  const why = cause instanceof Error ? `: ${cause.message}` : '';
  return new TransientError('unreachable', `The connection to ${server} was lost${why}.`, { cause });
}

/** An error of the socket while connecting. A Unix socket that is not there, or not ours to use, will not come by itself. */
export function connectError(server: string, cause: unknown): OpenServiceError {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'EACCES') {
    const why = code === 'ENOENT' ? 'the socket is not there' : 'the node may not use the socket';
    return new PermanentError('nbd_refused', `${server} cannot be reached: ${why}.`, { cause });
  }
  const known = asOpenServiceError(cause);
  if (known.outcome !== 'permanent' || known.code !== 'internal')
    return known.outcome === 'transient' ? lostAtStart(server, cause) : known;
  return new PermanentError('nbd_tls_failed', `TLS with ${server} failed: ${known.message}`, { cause });
}

function lostAtStart(server: string, cause: unknown): TransientError {
  return new TransientError('unreachable', `${server} cannot be reached: ${(cause as Error).message}.`, { cause });
}
