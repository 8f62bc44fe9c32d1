/** The one rule of keys (`backend.ts`); what a backend turns into a path or a URL has passed it. */
import { PermanentError } from '@openservice/domain';

const SEGMENT = /^[a-z0-9._-]+$/;
const MAX_KEY_BYTES = 512;

/** PermanentError `invalid_key` for a key that is empty, too long, or has a segment like "..", "A" or "". */
export function checkKey(key: string): void {
  if (key.length === 0 || key.length > MAX_KEY_BYTES || !key.split('/').every(isKeySegment)) {
    throw new PermanentError('invalid_key', `${JSON.stringify(key.slice(0, 80))} cannot be the key of an object.`);
  }
}

/** As checkKey, for what a key may start with: the last segment may be cut anywhere, or be empty. */
export function checkPrefix(prefix: string): void {
  const segments = prefix.split('/');
  const last = segments.pop() ?? '';
  if (prefix.length > MAX_KEY_BYTES || !segments.every(isKeySegment) || !/^[a-z0-9._-]*$/.test(last)) {
    throw new PermanentError('invalid_key', `${JSON.stringify(prefix.slice(0, 80))} cannot begin the key of an object.`);
  }
}

export function isKeySegment(segment: string): boolean {
  return SEGMENT.test(segment) && segment !== '.' && segment !== '..';
}

export function totalBytes(parts: Uint8Array | readonly Uint8Array[]): number {
  return parts instanceof Uint8Array ? parts.byteLength : parts.reduce((sum, part) => sum + part.byteLength, 0);
}
