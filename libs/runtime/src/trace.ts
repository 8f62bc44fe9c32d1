/** W3C trace context (https://www.w3.org/TR/trace-context/), version 00: which messages belong to one intent. */
import { randomBytes } from 'node:crypto';

const FORM = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/** A new trace, sampled. */
export function newTraceparent(): string {
  return `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`;
}

/** A new span in the trace of `parent`; a new trace where `parent` is none. */
export function childTraceparent(parent: string): string {
  const match = FORM.exec(parent);
  if (match === null) return newTraceparent();
  return `00-${match[1]}-${randomBytes(8).toString('hex')}-${match[3]}`;
}

/** The 32 hex digits that all messages of one trace share, or null. */
export function traceIdOf(traceparent: string): string | null {
  return FORM.exec(traceparent)?.[1] ?? null;
}
