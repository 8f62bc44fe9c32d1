/**
 * Errors as outcomes. Each carries a stable `code` (snake_case, part of the API) and one sentence for a tired
 * operator. Which class it is says what to do next; one adapter maps them to HTTP, one to the job engine.
 */
export abstract class OpenServiceError extends Error {
  abstract readonly outcome: 'permanent' | 'transient' | 'cancelled' | 'fenced';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

/** Trying again without changing something gives the same answer: bad input, a wrong key, damaged data. */
export class PermanentError extends OpenServiceError {
  readonly outcome = 'permanent';
}

/** May succeed later as it is: a server away, a time-out, a 503. */
export class TransientError extends OpenServiceError {
  readonly outcome = 'transient';
}

/** Somebody asked for it to stop. */
export class CancelledError extends OpenServiceError {
  readonly outcome = 'cancelled';
  constructor(message = 'The job was cancelled.', options?: ErrorOptions) {
    super('cancelled', message, options);
  }
}

/** A newer attempt owns the resource; this one must stop, and change nothing more. */
export class FencedError extends OpenServiceError {
  readonly outcome = 'fenced';
  constructor(message: string, options?: ErrorOptions) {
    super('fenced', message, options);
  }
}

/** What an error looks like in an event, a job's row and an API answer. */
export interface Failure {
  code: string;
  message: string;
}

const TRANSIENT_SYSTEM_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EBUSY',
  'EMFILE',
]);

/** One sentence for each system error an operator meets; the rest keep their own words. */
const SYSTEM_SENTENCES: Record<string, [code: string, sentence: string]> = {
  ENOSPC: ['no_space', 'The disk is full'],
  EDQUOT: ['no_space', 'The disk quota is used up'],
  EROFS: ['read_only', 'The filesystem is mounted read-only'],
  EACCES: ['permission_denied', 'Permission was denied'],
  EPERM: ['permission_denied', 'Permission was denied'],
  ENOENT: ['not_found', 'A file or directory is not there'],
  EIO: ['io_error', 'The disk reported an I/O error'],
};

/** Any thrown value as an OpenServiceError: ours as they are, system errors sorted by their errno. */
export function asOpenServiceError(error: unknown): OpenServiceError {
  if (error instanceof OpenServiceError) return error;
  const system = error as NodeJS.ErrnoException;
  if (error instanceof Error && typeof system.code === 'string') {
    if (system.code === 'ABORT_ERR') return new CancelledError('The work was stopped.', { cause: error });
    const known = SYSTEM_SENTENCES[system.code];
    if (known) {
      const where = system.path === undefined ? '' : ` at ${system.path}`;
      return new PermanentError(known[0], `${known[1]}${where} (${system.code}).`, { cause: error });
    }
    if (TRANSIENT_SYSTEM_CODES.has(system.code)) {
      return new TransientError('unreachable', `A server could not be reached: ${error.message}.`, { cause: error });
    }
  }
  const message = error instanceof Error ? error.message : String(error);
  return new PermanentError('internal', `Unexpected error: ${message}`, { cause: error });
}

export function toFailure(error: unknown): Failure {
  const known = asOpenServiceError(error);
  return { code: known.code, message: known.message };
}
