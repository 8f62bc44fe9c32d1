/** Errors on the wire: `{code, message, outcome}`, and back to the same class. */
import {
  asOpenServiceError,
  CancelledError,
  FencedError,
  type OpenServiceError,
  PermanentError,
  TransientError,
} from '@openservice/domain';

export interface WireFailure {
  code: string;
  message: string;
  outcome: OpenServiceError['outcome'];
}

const MAX_MESSAGE = 2000;

export function failureToWire(error: unknown): WireFailure {
  const { code, message, outcome } = asOpenServiceError(error);
  return { code, message: message.slice(0, MAX_MESSAGE), outcome };
}

/** PermanentError `not_a_pool_server` for what is no failure of ours. */
export function failureFromWire(value: unknown): OpenServiceError {
  const { code, message, outcome } = (typeof value === 'object' && value !== null ? value : {}) as Partial<WireFailure>;
  if (typeof code !== 'string' || typeof message !== 'string') {
    return new PermanentError('not_a_pool_server', 'The other side answered something that is not of a pool server.');
  }
  switch (outcome) {
    case 'transient':
      return new TransientError(code, message);
    case 'fenced':
      return new FencedError(message);
    case 'cancelled':
      return new CancelledError(message);
    default:
      return new PermanentError(code, message);
  }
}
