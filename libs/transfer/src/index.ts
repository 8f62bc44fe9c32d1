export {
  type FileIdentity,
  type FileSource,
  type FileSourceOptions,
  fileSource,
  sameIdentity,
  sourceChanged,
} from './file-source.ts';
export {
  discardFileTarget,
  type FileTarget,
  type FileTargetOptions,
  type FileTargetState,
  openFileTarget,
} from './file-target.ts';
export { OrderedRoot } from './ordered-root.ts';
export type * from './port.ts';
export { type ByteLimit, TokenBucket } from './token-bucket.ts';
export { transfer } from './transfer.ts';
export { chunkIsWhole, type VerifyOptions, type VerifyReport, verifySource } from './verify-source.ts';
