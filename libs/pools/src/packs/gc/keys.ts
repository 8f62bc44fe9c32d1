/** Names of the objects of a pool's collection (docs/format.md, Collection). */
export const CONDEMNED_PREFIX = 'condemned/';
export const DELETING_PREFIX = 'deleting/';
export const ACKS_PREFIX = 'acks/';

const round8 = (round: number): string => String(round).padStart(8, '0');

/** `collector` tells apart two that prepare the same round: neither writes over the other's list. */
export function condemnedKey(round: number, collector: string): string {
  return `${CONDEMNED_PREFIX}${round8(round)}-${collector}`;
}

export function deletingKey(round: number, collector: string): string {
  return `${DELETING_PREFIX}${round8(round)}-${collector}`;
}

export function ackKey(round: number, blockId: string, fence: number): string {
  return `${ACKS_PREFIX}${round8(round)}/${blockId}-${String(fence).padStart(16, '0')}`;
}

/** The round in a key of one of these. */
export function roundOf(key: string): number {
  return Number(/^[a-z]+\/(\d{8})/.exec(key)?.[1] ?? Number.NaN);
}
