/** The signature of a delivery (docs/events.md shows how to check it). */
import { createHmac } from 'node:crypto';

/**
 * Value of `X-OpenService-Signature`: HMAC-SHA256 over `<unix seconds>.<body>`, in hex. The time is signed too, so that a receiver can refuse
 * what somebody has kept and sends again.
 */
export function signature(secret: string, body: string, unixSeconds: number): string {
  const v1 = createHmac('sha256', secret).update(`${unixSeconds}.${body}`).digest('hex');
  return `t=${unixSeconds},v1=${v1}`;
}
