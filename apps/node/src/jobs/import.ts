/** A file or device of this node becomes a block in a pool. */
import type { JobContext, JobHandler } from '@openservice/agent';
import { PermanentError } from '@openservice/domain';
import type { JobParams } from '@openservice/protocol';
import { type FileIdentity, type FileSource, fileSource, sameIdentity, sourceChanged } from '@openservice/transfer';
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
      const committed = (await pool.stat(block.id, signal)) !== null;
      const writer = await pool.openWriter(sessionOf(context, block), signal);
      let identity: FileIdentity | null = null;
      return replicate({
        context,
        writer,
        committed,
        block,
        poolId: params.pool_id,
        expectedRoot: null,
        openSource: async () => {
          const source = await openChecked(deps, context);
          identity = source.identity;
          return source;
        },
        state: () => ({ source: identity }),
        lastChecks: (source) => source.assertUnchanged(),
      });
    },
    cleanUp: (context) => dropFromPool(deps, context.params.pool_id, sessionOf(context, blockOf(context.params)), context),
  };
}

/** The file as the job was accepted for it, and as earlier runs read it; else PermanentError `source_changed`. */
async function openChecked(deps: JobDeps, context: JobContext<Params>): Promise<FileSource> {
  const { size, chunk_size, source } = context.params;
  const file = await deps.importRoots.openSource(source.path);
  try {
    if (file.size !== size) {
      throw new PermanentError(
        'source_changed',
        `${source.path} has ${file.size} bytes now and had ${size} when the import was asked for; ask again when nobody writes to it.`,
      );
    }
    const opened = await fileSource({
      handle: file.handle,
      path: source.path,
      size,
      chunkSize: chunk_size,
      workers: deps.workers,
    });
    const before = readJournalState(context.lastCheckpoint).source;
    if (before !== null && !sameIdentity(before, opened.identity)) throw sourceChanged(source.path);
    return opened;
  } catch (error) {
    await file.handle.close();
    throw error;
  }
}

function blockOf(params: Params) {
  return { id: params.block_id, size: params.size, chunkSize: params.chunk_size };
}
