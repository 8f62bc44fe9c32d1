/** What a source holds becomes a block in a pool. */
import type { JobContext, JobHandler } from '@openservice/agent';
import { PermanentError } from '@openservice/domain';
import type { BlockReader } from '@openservice/pools';
import type { JobParams } from '@openservice/protocol';
import { type ImportSource, openSource, withParent } from '../sources/open-source.ts';
import { isUnreadable } from '../unreadable.ts';
import { openReplica } from './copy-to-pool.ts';
import type { JobDeps } from './deps.ts';
import { readJournalState } from './journal-state.ts';
import { dropFromPool, sessionOf } from './pool-target.ts';
import { replicate } from './replicate.ts';

type Params = JobParams['import'];

export function importHandler(deps: JobDeps): JobHandler<'import'> {
  return {
    kind: 'import',
    concurrency: 2,
    async run(context) {
      const { params, signal } = context;
      const block = blockOf(params);
      const pool = await deps.pools.get(params.pool_id, signal);
      // Opened below without `block_exists`, what is committed here is by this very job.
      const whole = (await pool.stat(block.id, signal)) !== null;
      const writer = await pool.openWriter(sessionOf(context, block), signal);
      let identity: unknown = null;
      const notes: string[] = [];
      const result = await replicate({
        context,
        writer,
        whole,
        block,
        poolId: params.pool_id,
        limits: deps.limits.of(params.parent === null ? [params.pool_id] : [params.pool_id, params.parent.pool_id]),
        expectedRoot: null,
        openSource: async () => {
          const source = await openChecked(deps, context, notes);
          identity = source.identity;
          return source;
        },
        state: () => ({ source: identity }),
        lastChecks: (source) => source.assertUnchanged(),
        notes: (source) => [...notes, ...source.notes()],
      });
      if (params.source.type === 'content') await dropContent(deps, context);
      return result;
    },
    cleanUp: (context) => dropFromPool(deps, context.params.pool_id, sessionOf(context, blockOf(context.params)), context),
  };
}

/** The source as the job was accepted for it, and as earlier runs read it; else PermanentError `source_changed`. */
async function openChecked(deps: JobDeps, context: JobContext<Params>, notes: string[]): Promise<ImportSource> {
  const { params, jobId, signal } = context;
  const before = readJournalState(context.lastCheckpoint).source;
  const source = await openSource(deps, params.source, blockOf(params), before, signal);
  try {
    const parent = await openParent(deps, params, notes, signal);
    return parent === null ? source : withParent(source, parent, params.changed_extents, { seed: jobId, workers: deps.workers });
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Null where all of the source is read anyway, or, with a note, where the parent cannot be: its part is in the source, too. */
async function openParent(deps: JobDeps, params: Params, notes: string[], signal: AbortSignal): Promise<BlockReader | null> {
  const { parent, changed_extents } = params;
  if (parent === null || changed_extents === null) return null;
  try {
    return await openReplica(deps, parent.pool_id, parent.block, signal);
  } catch (error) {
    if (!isUnreadable(error) && !(error instanceof PermanentError && error.code === 'digest_mismatch')) throw error;
    notes.push(`The parent could not be read, so all of the source was: ${error.message}`);
    return null;
  }
}

/**
 * Once committed no later run reads it again. That of a failed import stays: the center says when it is given up. The block is there
 * whatever becomes of this, so the job does not fail over it.
 */
async function dropContent(deps: JobDeps, context: JobContext<Params>): Promise<void> {
  const { block_id } = context.params;
  try {
    await deps.content.drop(block_id);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    context.log('what the client sent could not be dropped; it takes up room until it is removed by hand', { block_id, why });
  }
}

function blockOf(params: Params) {
  return { id: params.block_id, size: params.size, chunkSize: params.chunk_size };
}
