/** The Pool port over the pool protocol (docs/pool-protocol.md). What goes wrong in the pool on the other side comes back as the same error. */
import type { ChunkWorkers } from '@openservice/codec';
import { PermanentError, type RemotePoolSpec, TransientError } from '@openservice/domain';
import { throwIfCancelled } from '../cancel.ts';
import { isHole } from '../manifest.ts';
import type {
  BlockReader,
  BlockStat,
  BlockWriter,
  CollectOptions,
  CollectReport,
  ListOptions,
  Pool,
  PoolProbe,
  WriteSession,
} from '../pool.ts';
import { MAX_TRIES, mayTryAgain, pauseBefore } from './again.ts';
import { damagedFrom, fields, openedFrom, probeFrom, reportFrom, statFrom, whole } from './answers.ts';
import type { RemoteClient } from './client.ts';
import { encodeChunk } from './encode.ts';
import { RemoteReader } from './reader.ts';
import { openSession } from './session.ts';
import { encodeItem } from './wire.ts';
import { RemoteWriter } from './writer.ts';

/** Somebody waits for the answer of a probe. */
const PROBE_TRIES = 2;

export class RemotePool implements Pool {
  readonly id: string;
  readonly name: string;
  readonly #client: RemoteClient;
  readonly #workers: ChunkWorkers;

  constructor(spec: RemotePoolSpec, client: RemoteClient, workers: ChunkWorkers) {
    this.id = spec.id;
    this.name = `pool ${spec.remote_pool} of the pool server ${client.name}`;
    this.#client = client;
    this.#workers = workers;
  }

  /** The pool behind the server was set up there: `create` finds it, and adds nothing. */
  async probe(_options: { create: boolean }, signal: AbortSignal): Promise<PoolProbe> {
    const call = { method: 'POST', path: '/probe', block: null, right: 'manage' } as const;
    return probeFrom(await this.#client.json(call, signal, PROBE_TRIES));
  }

  async stat(blockId: string, signal: AbortSignal): Promise<BlockStat | null> {
    const call = { method: 'GET', path: pathOf(blockId), block: blockId, right: 'read' } as const;
    const { block } = fields(await this.#client.json(call, signal));
    return block === null ? null : statFrom(block);
  }

  async openReader(blockId: string, signal: AbortSignal): Promise<BlockReader> {
    const call = { method: 'POST', path: `${pathOf(blockId)}/open`, block: blockId, right: 'read' } as const;
    const opened = openedFrom(await this.#client.json(call, signal));
    return new RemoteReader(this.#client, this.#workers, { id: blockId, path: pathOf(blockId), ...opened });
  }

  async openWriter(session: WriteSession, signal: AbortSignal): Promise<BlockWriter> {
    const opened = await openSession(this.#client, session, null, signal);
    if (opened === null) throw new PermanentError('not_a_pool_server', 'The pool server opened no session.');
    return new RemoteWriter(this.#client, this.#workers, session, null, opened);
  }

  async openClone(from: string, session: WriteSession, signal: AbortSignal): Promise<BlockWriter | null> {
    const opened = await openSession(this.#client, session, from, signal);
    return opened === null ? null : new RemoteWriter(this.#client, this.#workers, session, from, opened);
  }

  async trash(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    await this.#write(blockId, 'trash', { fence }, signal);
  }

  async untrash(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    await this.#write(blockId, 'untrash', { fence }, signal);
  }

  async remove(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    await this.#write(blockId, 'remove', { fence }, signal);
  }

  /** A list that breaks off goes on after the last block that it told. */
  async *list(signal: AbortSignal, options: ListOptions = {}): AsyncIterable<BlockStat> {
    const trashed = options.trashed === true ? '1' : '0';
    const damaged = options.onDamaged === undefined ? '' : '&damaged=1';
    let last = '';
    for (let tries = 1; ; tries++) {
      const path = `/blocks?trashed=${trashed}${damaged}&after=${encodeURIComponent(last)}`;
      try {
        for await (const line of this.#client.lines({ method: 'GET', path, block: null, right: 'manage' }, signal)) {
          tries = 1;
          if (line.damaged !== undefined) {
            const { blockId, error } = damagedFrom(line.damaged);
            last = blockId;
            options.onDamaged?.(blockId, error);
            continue;
          }
          const stat = statFrom(line);
          last = stat.blockId;
          yield stat;
        }
        return;
      } catch (error) {
        if (!mayTryAgain(error) || tries >= MAX_TRIES) throw error;
        await pauseBefore(tries, signal);
      }
    }
  }

  /** Not tried again in here: a collection whose answer was lost may still be at work. */
  async collect({ jobId, waitLimit, onProgress }: CollectOptions, signal: AbortSignal): Promise<CollectReport> {
    const json = { job_id: jobId, ...(waitLimit === undefined ? {} : { wait_limit_ms: waitLimit }) };
    const call = { method: 'POST', path: '/collect', block: null, right: 'manage', json } as const;
    let report: CollectReport | null = null;
    for await (const line of this.#client.lines(call, signal)) {
      if (line.report !== undefined) report = reportFrom(line.report);
      else if (line.progress !== undefined) onProgress?.(whole(fields(line.progress).done), whole(fields(line.progress).total));
    }
    if (report === null) throw new TransientError('unreachable', `The ${this.name} ended a collection without a report.`);
    return report;
  }

  async repair(blockId: string, index: number, bytes: Buffer | null, signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    if (!Number.isSafeInteger(index) || index < 0)
      throw new PermanentError('out_of_range', `Block ${blockId} has no chunk ${index}.`);
    const path = `${pathOf(blockId)}/repair?index=${index}`;
    const body = bytes === null ? [] : await this.#chunkItem(index, bytes);
    await this.#client.json({ method: 'POST', path, block: blockId, right: 'write', body }, signal);
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  async #write(blockId: string, what: string, json: unknown, signal: AbortSignal): Promise<void> {
    const path = `${pathOf(blockId)}/${what}`;
    await this.#client.json({ method: 'POST', path, block: blockId, right: 'write', json }, signal);
  }

  async #chunkItem(index: number, bytes: Buffer): Promise<Buffer[]> {
    const digest = await this.#workers.digest(bytes);
    if (isHole(digest)) return encodeItem({ kind: 'hole', index, count: 1 });
    return encodeItem({ kind: 'chunk', index, chunk: await encodeChunk(this.#workers, digest, bytes) });
  }
}

export function pathOf(blockId: string): string {
  return `/blocks/${encodeURIComponent(blockId)}`;
}
