/**
 * Ids: a prefix that names the kind, then a sortable random part (48 bits of Unix milliseconds and
 * 80 random bits, Crockford base32, lower case: the ULID layout, https://github.com/ulid/spec).
 */
import { randomBytes } from 'node:crypto';

export type IdKind = 'pool' | 'set' | 'block' | 'ins' | 'job' | 'source' | 'node' | 'evt' | 'cmd' | 'req' | 'hook' | 'anomaly';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const ID_PATTERN = /^[a-z]+-[0-9a-hjkmnp-tv-z]{26}$/;
/** Names that people give to nodes stand in NATS subjects, in paths and in durable names. */
const NODE_ID_PATTERN = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** A new id of `kind`. `now` is Unix time in ms. Ids made later sort later (to the millisecond). */
export function newId(kind: IdKind, now: number = Date.now()): string {
  let time = now;
  let head = '';
  for (let i = 0; i < 10; i++) {
    head = ALPHABET[time % 32] + head;
    time = Math.floor(time / 32);
  }
  let tail = '';
  for (const byte of randomBytes(16)) tail += ALPHABET[byte & 31];
  return `${kind}-${head}${tail}`;
}

/** True when `text` has the form of an id of `kind`; says nothing of whether such a thing exists. */
export function isId(kind: IdKind, text: string): boolean {
  return text.startsWith(`${kind}-`) && ID_PATTERN.test(text);
}

/** True when `text` may be a node's id: lower case letters, digits and "-", 63 characters at most. */
export function isNodeId(text: string): boolean {
  return NODE_ID_PATTERN.test(text);
}
