/** What travels between `workers.ts` and `chunk-worker.ts`. A Uint8Array in a request is a view of shared memory. */
import type { FrameList, StoredLayout } from './chunk-codec.ts';
import type { EncodeOptions } from './room.ts';

export type ChunkRequest =
  | { op: 'digest'; bytes: Uint8Array }
  /** `out` null: the caller's is not shared, so the worker answers with bytes of its own. */
  | ({ op: 'encode'; bytes: Uint8Array; out: Uint8Array | null } & EncodeOptions)
  | { op: 'decode'; stored: Uint8Array; target: Uint8Array | null; layout: StoredLayout };

export interface ChunkReply {
  id: number;
  /** digest and decode. */
  digest?: Uint8Array;
  /** encode. */
  frames?: FrameList;
  /** What belongs in the caller's `out` or `target`, where that is not shared. */
  output?: Uint8Array;
  /** `code` null: a mistake of the caller's. */
  failure?: { code: string | null; message: string };
}
