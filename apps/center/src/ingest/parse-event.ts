/** The event in a message, or why there is none. */
import { decodeJson, type Envelope, envelopeSchema, eventSchema, type JobEvent } from '@openservice/protocol';

/** A sentence where it is none. `subject`: a NATS user may publish only under its own node's id, so it says who sent it. */
export function parseEvent(subject: string, data: Uint8Array): JobEvent | string {
  let body: unknown;
  try {
    body = decodeJson(data);
  } catch (error) {
    return `It is not JSON: ${String(error)}`;
  }
  const parsed = eventSchema.safeParse(body);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return `It is not a valid event at "${issue?.path.join('.')}": ${issue?.message}`;
  }
  const [, , , node, job] = subject.split('.');
  if (parsed.data.node !== node || parsed.data.job_id !== job) return 'Its node or job is not that of its subject.';
  return parsed.data;
}

/** What can be read of a message that is no event: whose it is, at least. */
export function envelopeOf(data: Uint8Array): Envelope | null {
  try {
    return envelopeSchema.safeParse(decodeJson(data)).data ?? null;
  } catch {
    return null;
  }
}
