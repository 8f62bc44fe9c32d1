import { PermanentError } from '@openservice/domain';

export interface FieldError {
  /** Dotted path in the body (`target.path`), or `query.<name>` for a query parameter. */
  path: string;
  message: string;
}

/** A use case says no. `details` stand in the problem+json beside code and detail (`job_id`, `errors`, …). */
export class Refusal extends PermanentError {
  readonly details: Record<string, unknown>;
  constructor(code: string, message: string, details: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(code, message, options);
    this.details = details;
  }
}

export function invalidRequest(errors: FieldError[]): Refusal {
  const named = errors.map((e) => (e.path === '' ? e.message : `${e.path}: ${e.message}`)).join('; ');
  return new Refusal('invalid_request', `The request is not valid: ${named}`.slice(0, 1000), { errors });
}

/** `what`: pool, set, block, job, node. */
export function notFound(what: string, id: string): Refusal {
  return new Refusal(`${what}_not_found`, `There is no ${what} ${id.slice(0, 64)}; list them with GET /openstore_v1/${what}s.`);
}
