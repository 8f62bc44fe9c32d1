/** What a use case asks for when it starts a job: the contract between the REST services and the job engine of the center. */
import type { JobKind } from '@openservice/domain';
import type { JobParams } from '@openservice/protocol';

/** `block:<id>`, `replica:<block id>/<pool id>`, `instance:<id>`, `pool:<id>`. Exclusive: nobody else; shared: only others that share. */
export interface ClaimRequest {
  resource: string;
  mode: 'shared' | 'exclusive';
}

export const DEFAULT_PRIORITY = 5;

export type JobRequest = {
  [Kind in JobKind]: {
    kind: Kind;
    nodeId: string;
    /** Null for work on a pool as a whole, or on an instance of several blocks. */
    blockId: string | null;
    setId: string | null;
    params: JobParams[Kind];
    claims: ClaimRequest[];
    /** Bytes of the disk that the job will go through, for the progress bar before it starts. */
    bytesTotal: number;
    /** 1 goes first, 9 last. Left out: 5. */
    priority?: number | undefined;
    /** Who asked; null: the center itself. */
    tokenId: string | null;
    traceparent: string;
  };
}[JobKind];
