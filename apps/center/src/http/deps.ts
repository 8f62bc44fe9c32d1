/** All that the HTTP side needs from the rest of the center; main.ts puts it together, tests bring stand-ins. */
import type { NodeMethod } from '@openservice/protocol';
import type { CallOptions, NodeReply, NodeRequest } from '@openservice/runtime';
import type { DataSource } from '@openservice/store';
import type { EventTail } from '../events/tail.ts';
import type { Caller } from '../services/caller.ts';

export interface Log {
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
}

export interface NodeCalls {
  /**
   * The result of `method` on the node. PermanentError with the node's own code when it refuses; TransientError when it
   * cannot be asked or does not answer within `timeoutMs`.
   */
  call<M extends NodeMethod>(nodeId: string, method: M, request: NodeRequest<M>, options: CallOptions): Promise<NodeReply<M>>;
}

export interface AppDeps {
  database: DataSource;
  /** Told after a job's transaction has committed, so that its command leaves at once. */
  relay: { poke(): void };
  nodes: NodeCalls;
  /** The stream of events, for those who follow it. */
  events: Pick<EventTail, 'read' | 'state' | 'changed' | 'stopped'>;
  secrets: { seal(text: string): string; open(text: string): string; derive(purpose: string): Buffer };
  redisUrl: string;
  ready(): { mysql: boolean; nats: boolean; redis: boolean };
  log: Log;
  /** How long a deleted block can be had back, ms; 0: not at all. */
  trashMs: number;
  /** How long a block waits for content of which nothing comes, ms. */
  contentMs: number;
  dataDir: string;
  version: string;
}

/** What a request carries from the middlewares to its handler. */
export interface AppEnv {
  Variables: { requestId: string; traceparent: string; caller: Caller };
}
