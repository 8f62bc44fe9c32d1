/** A write session on the pool server: opening it, and which chunks are durable there. */
import { chunkCount } from '@openservice/domain';
import { Bitmap } from '../packs/bitmap.ts';
import type { WriteSession } from '../pool.ts';
import { fields, text, whole } from './answers.ts';
import type { RemoteClient } from './client.ts';
import { DURABLE_PAGE } from './wire.ts';

export interface OpenedSession {
  /** Below the pool: `/blocks/{block}/sessions/{id}`. */
  path: string;
  durable: Bitmap;
  bytesKept: number | null;
}

/** Null: the pool cannot clone. A session that this same attempt left open on the server is closed there first. */
export async function openSession(
  client: RemoteClient,
  session: WriteSession,
  from: string | null,
  signal: AbortSignal,
): Promise<OpenedSession | null> {
  const { blockId, size, chunkSize, jobId, attempt, fence, meta } = session;
  const json = {
    size,
    chunk_size: chunkSize,
    job_id: jobId,
    attempt,
    fence,
    meta: meta ?? null,
    clone_of: from,
  };
  const base = `/blocks/${encodeURIComponent(blockId)}/sessions`;
  const call = { method: 'POST', path: base, block: blockId, right: 'write', json } as const;
  const answer = fields(await client.json(from === null ? call : { ...call, from }, signal));
  if (answer.session === null) return null;
  const path = `${base}/${text(answer.session)}`;
  const bytesKept = answer.bytes_kept === null ? null : whole(answer.bytes_kept);
  const durable = await durableChunks(client, path, session, text(answer.durable), signal);
  return { path, durable, bytesKept };
}

async function durableChunks(
  client: RemoteClient,
  path: string,
  session: WriteSession,
  which: string,
  signal: AbortSignal,
): Promise<Bitmap> {
  const count = chunkCount(session.size, session.chunkSize);
  const durable = new Bitmap(count);
  if (which === 'all') durable.setRange(0, count);
  if (which === 'all' || which === 'none') return durable;
  for (let first = 0; first < count; first += DURABLE_PAGE) {
    const call = { method: 'GET', path: `${path}/durable?from=${first}`, block: session.blockId, right: 'write' } as const;
    const page = await client.bytes(call, signal);
    const end = Math.min(count, first + DURABLE_PAGE);
    for (let index = first; index < end; index++) {
      if (((page[(index - first) >>> 3] ?? 0) & (1 << (index & 7))) !== 0) durable.set(index);
    }
  }
  return durable;
}
