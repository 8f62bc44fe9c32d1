export type * from './port.ts';
export { isShared, sharedBuffer } from './shared-buffer.ts';
export { type ChunkWorkersOptions, createChunkWorkers } from './workers.ts';
