/** One kind of thing that a client does. A new kind is a file and a line in all.ts. */
import type { Asker, Request } from '../client/asker.ts';
import type { Answered } from '../model/history.ts';
import type { Model } from '../model/model.ts';
import type { Random } from '../random.ts';

export interface PoolPlace {
  id: string;
  name: string;
  type: 'local' | 'dedup' | 's3' | 'remote';
  /** The node whose directory it is; of a remote pool: that exports it. */
  node: string | null;
  /** Absolute, of what lies in a directory here. */
  path: string | null;
  /** Of an S3 pool. */
  prefix: string | null;
}

export interface Playground {
  pools: readonly PoolPlace[];
  nodes: readonly string[];
  /** Where `node` imports from and restores to. */
  importDir(node: string): string;
}

export interface Hands extends Playground {
  /** Names the client and the step: unique in the run, the same in each run of the seed. */
  readonly name: string;
  readonly model: Model;
  readonly asker: Asker;
  readonly signal: AbortSignal;
  /** Asks with a key made of `name`; null where no answer came in time. */
  ask(request: Request): Promise<Answered | null>;
  /** Sends bytes of a block's content to any center, `from` included, `end` left out; answers the status and what the body says. */
  send(block: string, bytes: Buffer, from: number, end: number): Promise<{ status: number; job: string | null } | null>;
  /** Bytes of its content that are there; null where nobody can say. */
  contentOffset(block: string): Promise<number | null>;
}

export interface Action {
  readonly kind: string;
  readonly weight: number;
  /** It makes blocks: the first steps of a client. */
  readonly makes?: boolean;
  /** False: there was nothing to do it with. */
  run(hands: Hands, draw: Random): Promise<boolean>;
}
