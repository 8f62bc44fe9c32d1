export type * from './port.ts';
export { readCached } from './read-cached.ts';
export { type EncodeOptions, roomToEncode, SEAL_BYTES } from './room.ts';
export { isShared, sharedBuffer } from './shared-buffer.ts';
export { type ChunkWorkersOptions, createChunkWorkers } from './workers.ts';
