/** What an import reads: a source of chunks that knows what it is, and whether it stood still. */
import type { FileHandle } from 'node:fs/promises';
import type { ChunkWorkers } from '@openservice/codec';
import type { ChunkSource } from '@openservice/pools';
import type { ImportRoots } from '../import-roots.ts';

export interface SourceDeps {
  /** The only way from a path to a file. */
  readonly importRoots: Pick<ImportRoots, 'openSource'>;
  readonly workers: ChunkWorkers;
  /** What clients sent for blocks; whoever opens it closes the handle. */
  readonly content: { open(blockId: string): Promise<{ handle: FileHandle; path: string; size: number }> };
  /** A directory of this node alone, for the sockets of qemu-nbd. */
  readonly scratchDir: string;
  /** Absolute path of qemu-nbd, or null where it is not installed; left out: looked for. */
  readonly findQemu?: () => Promise<string | null>;
}

/** The block that an import makes. Sizes in bytes. */
export interface SourceBlock {
  id: string;
  size: number;
  chunkSize: number;
}

export interface ImportSource extends ChunkSource {
  /** Small JSON: what the source was when it was opened. Kept in the journal; a later run compares. */
  readonly identity: unknown;
  /** PermanentError `source_changed` when it changed while it was read, as far as such a source can tell. */
  assertUnchanged(): Promise<void>;
  /** Sentences that a person should know though the import succeeded (JobResult.notes). */
  notes(): string[];
}
