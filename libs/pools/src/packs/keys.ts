/** Names of the objects of a packs pool (docs/format.md, Names). `fence` is written with 16 digits, so that names sort by it. */
export const POOL_MARK_KEY = 'pool.json';
export const PROBE_PREFIX = 'probe/';
export const PACKS_PREFIX = 'packs/';
export const SEGMENTS_PREFIX = 'segments/';
export const INDEX_PREFIX = 'index/';
export const DAMAGED_PREFIX = 'damaged/';
export const REPAIRS_PREFIX = 'repairs/';
export const BLOCKS_PREFIX = 'blocks/';
export const SESSIONS_PREFIX = 'sessions/';

function digits(fence: number): string {
  return String(fence).padStart(16, '0');
}

export function packKey(name: string): string {
  return `packs/${name.slice(0, 2)}/${name}`;
}

export function blockPrefix(blockId: string): string {
  return `blocks/${blockId}/`;
}

export function ledgerPrefix(blockId: string): string {
  return `blocks/${blockId}/ledger`;
}

/** Where the attempt with `fence` keeps its manifest and the segments that it lists. */
export function attemptPrefix(blockId: string, fence: number): string {
  return `blocks/${blockId}/${digits(fence)}/`;
}

export function manifestKey(blockId: string, fence: number): string {
  return `${attemptPrefix(blockId, fence)}manifest`;
}

/** Where the manifest of a committed or trashed block lies: the trash and back change the entry's fence, not the manifest. */
export function manifestOf(blockId: string, entry: { fence: number; detail: Record<string, unknown> }): string {
  const { manifest } = entry.detail;
  return typeof manifest === 'string' ? manifest : manifestKey(blockId, entry.fence);
}

/** A segment object that all blocks share. */
export function sharedKey(name: Buffer): string {
  const hex = name.toString('hex');
  return `${SEGMENTS_PREFIX}${hex.slice(0, 2)}/${hex}`;
}

/** The hex name in a key made by `packKey` or `sharedKey`. */
export function nameIn(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1);
}

/** Part `part` of what the session with `fence` added to the pool's index. */
export function indexKey(blockId: string, fence: number, part: number): string {
  return `${INDEX_PREFIX}${digits(fence)}-${blockId}-${String(part).padStart(6, '0')}`;
}

/** Part `part` of an index that a collection made of packs themselves. */
export function healedIndexKey(collector: string, part: number): string {
  return `${INDEX_PREFIX}r-${collector}-${String(part).padStart(6, '0')}`;
}

/** A good record for a place that is damaged. */
export function repairKey(pack: string, offset: number): string {
  return `${REPAIRS_PREFIX}${pack}/${String(offset).padStart(10, '0')}`;
}

/** Says that no new block may rely on a place. */
export function damagedKey(pack: string, offset: number): string {
  return `${DAMAGED_PREFIX}${pack}/${String(offset).padStart(10, '0')}`;
}

/** Where a private segment of the attempt with `fence` lies: in pools from before segments were shared. */
export function segmentKey(blockId: string, fence: number, hash: Buffer): string {
  const hex = hash.toString('hex');
  return `${attemptPrefix(blockId, fence)}segments/${hex.slice(0, 2)}/${hex}`;
}

export function locationsKey(blockId: string, fence: number, hash: Buffer): string {
  const hex = hash.toString('hex');
  return `${attemptPrefix(blockId, fence)}locations/${hex.slice(0, 2)}/${hex}`;
}

export function sessionPrefix(blockId: string): string {
  return `sessions/${blockId}/`;
}

export function sessionKey(blockId: string, fence: number, sequence: number): string {
  return `${sessionPrefix(blockId)}${digits(fence)}-${String(sequence).padStart(8, '0')}`;
}

/** The fence in a key made by `attemptPrefix` or `sessionKey`; null for any other, the ledger's among them. */
export function fenceOf(key: string): number | null {
  const found = /^(?:blocks|sessions)\/[^/]+\/(\d{16})[/-]/.exec(key);
  return found === null ? null : Number(found[1]);
}
