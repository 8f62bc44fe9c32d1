/** What travels between `workers.ts` and `chunk-worker.ts`. A Place is a view of shared memory. */
import type { FrameList, StoredLayout } from './chunk-codec.ts';
import type { EncodeOptions } from './room.ts';
import type { Place, ShelfNews } from './shelf.ts';

/** What one turn of the event loop brought. Answered by an array of ChunkReplies in the same order. */
export interface ChunkMessage {
  shelf: ShelfNews | undefined;
  requests: ChunkRequest[];
}

export type ChunkRequest = { id: number } & ChunkWork;

export type ChunkWork =
  | { op: 'digest'; bytes: Place }
  | { op: 'read'; fd: number; offset: number; into: Place }
  /** `out` null: the caller's is not shared, so the worker answers with bytes of its own. */
  | ({ op: 'encode'; bytes: Place; out: Place | null } & EncodeOptions)
  | { op: 'decode'; stored: Place; target: Place | null; layout: StoredLayout };

export interface ChunkReply {
  id: number;
  /** digest and decode; read, where the kernel had the bytes in memory. */
  digest?: Uint8Array;
  /** encode. */
  frames?: FrameList;
  /** What belongs in the caller's `out` or `target`, where that is not shared. */
  output?: Uint8Array;
  /** `code` null: a mistake of the caller's. */
  failure?: { code: string | null; message: string };
}
